"""The interface of reports. `tests/contract/test_reports.py` is the contract suite.

Every method is one transaction, durable when it returns. On a database that `db upgrade` has not reached
yet each raises `Refused(busy)`: the table comes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.ids import AccountAddress, DeviceId, MessageId
from miss_protocol.reports import Reason


class Outcome(Enum):
    """What the operator made of a report: a note, nothing follows from it."""

    NONE = "none"
    WARNED = "warned"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Signer:
    """A device as a roster of its account lists it, or listed it before it was removed at that time."""

    certificate: DeviceCertificate
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Filing:
    """A report to be kept, whose signature holds.

    Attributes:
        id: 16 hexadecimal digits, drawn by chance; another one stands if the message was reported before.
        signed: the message as it was signed, `message` its id.
        received_ms: when the reporter got it, by its own clock.
    """

    id: str
    reporter: AccountAddress
    signer: Signer
    message: MessageId
    signed: bytes
    reason: Reason
    note: str
    received_ms: int


@dataclass(frozen=True, slots=True)
class Filed:
    """A report without what it shows. Times are milliseconds."""

    id: str
    reporter: AccountAddress
    account: AccountAddress
    device: DeviceId
    message: MessageId
    reason: Reason
    received_ms: int
    filed_ms: int
    seen_ms: int | None
    closed_ms: int | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """A report with what it shows. No `repr`: it holds what people wrote.

    Attributes:
        reporter_name, account_name, person: as the accounts have them.
        taken_ms: when this server took that very send; None if it knows it no more.
        revoked_ms: when the device was removed from the account, if it was.
        others: how many other reports about the same account are kept.
    """

    filed: Filed
    reporter_name: str
    account_name: str
    person: str | None
    signed: bytes
    certificate: bytes
    note: str
    taken_ms: int | None
    revoked_ms: int | None
    others: int


class Reports(Protocol):
    """Messages that their readers showed to the operator."""

    # --- accounts ---------------------------------------------------------------------------------

    async def signer(self, account: AccountAddress, device: DeviceId) -> Signer | None:
        """A device of an account, by the rosters that this server took; None if none lists it.

        Raises:
            Refused: `unknown_account`.
        """
        ...

    async def file_report(self, filing: Filing, *, now_ms: int) -> Filed:
        """Keep a report whose message was verified. The same message of the same reporter stays one
        report: it is answered as it stands, and costs nothing.

        Raises:
            Refused: `rate_limited` beyond `limits.REPORTS_PER_DAY`, with the time to wait.
        """
        ...

    async def reports_by(
        self, reporter: AccountAddress, *, before: tuple[int, str] | None, limit: int
    ) -> list[Filed]:
        """An account's own reports, the newest first.

        Args:
            before: (time, id) of the last one that was shown.
        """
        ...

    # --- the operator -----------------------------------------------------------------------------

    async def reports(self, *, closed: bool = False, limit: int = 100) -> list[Filed]:
        """Open reports, the oldest first, or closed ones that are still kept, the last closed first."""
        ...

    async def report_ids(self, beginning: str, *, limit: int = 2) -> Sequence[str]:
        """The reports whose id begins so."""
        ...

    async def show_report(self, id: str, *, actor: str, now_ms: int) -> Evidence:
        """What a report shows; that somebody was shown it goes into the audit log with it.

        Raises:
            Refused: `not_found`.
        """
        ...

    async def export_report(
        self, id: str, *, actor: str, now_ms: int
    ) -> tuple[Evidence, Sequence[bytes]]:
        """What a report shows, with the account's rosters as they were signed, from the genesis to the first
        that lists the device; that somebody took it with them goes into the audit log.

        Raises:
            Refused: `not_found`.
        """
        ...

    async def close_report(
        self, id: str, outcome: Outcome, *, delete_ms: int, actor: str, now_ms: int
    ) -> Filed:
        """Close a report, to be deleted at `delete_ms`; the same again changes nothing.

        Raises:
            Refused: `not_found`; `out_of_place` if it was closed with another outcome.
        """
        ...
