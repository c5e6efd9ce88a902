"""Showing a message that was received to the operator. Spec: 09-standing §3.

The one place from which a text leaves this device for anybody but its people: whoever calls this has
shown its user which message that is and who will read it, and asked.
"""

from miss_client.calls import Calls
from miss_client.errors import ClientError, Trouble
from miss_client.records import Message
from miss_client.vault import Vault
from miss_protocol.reports import Reason, Report, ReportMade, ReportsPage


def check_reportable(message: Message) -> None:
    """Whether a message can be shown: somebody else wrote it, and it was kept as it was signed.

    Raises:
        ClientError: not_reportable.
    """
    if message.own or not message.signed:
        raise ClientError(Trouble.NOT_REPORTABLE)


async def report(
    vault: Vault, calls: Calls, message: Message, reason: Reason, *, note: str = ""
) -> Report:
    """Show a message to the operator: as it was signed, who wrote it and when it came, and nothing else.
    After `Unreachable`, call it again: the same message stays one report.

    Raises:
        ClientError: not_reportable.
        RefusedByServer: report_too_old, rate_limited, untrusted.
    """
    check_reportable(message)
    made = ReportMade(
        message=message.signed,
        account=message.account,
        device=message.device,
        reason=reason,
        # A clock that was ahead then, and is right now, would name a time that is yet to come.
        received=min(message.saved_ms, vault.clock()),
        note=note,
    )
    return await calls.post("/v1/reports", made, Report)


async def reports(calls: Calls) -> list[Report]:
    """What this account has shown, the newest first, as long as the server keeps it."""
    page = await calls.get("/v1/reports", ReportsPage)
    found = list(page.reports)
    while page.next is not None:
        page = await calls.get("/v1/reports", ReportsPage, cursor=page.next)
        found += page.reports
    return found
