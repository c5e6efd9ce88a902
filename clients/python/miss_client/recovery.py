"""How an account whose devices are all lost begins anew, on a new device. Spec: 11-accounts §5.

Keys are saved before anybody hears of them, so the call may be repeated with the same store, and is, to
see how the recovery stands.
"""

from collections.abc import Callable
from dataclasses import dataclass

from miss_client import enrolment
from miss_client.calls import Calls
from miss_client.client import Client, this_app
from miss_client.errors import ClientError, Trouble
from miss_client.store import Store
from miss_client.transport import Timing
from miss_client.vault import Vault
from miss_protocol.account import RecoveryPreview


@dataclass(frozen=True, slots=True)
class Recovering:
    """How a recovery stands: `state` is waiting, done, vetoed or cancelled; with `done` there is a
    `client`. Times are milliseconds."""

    state: str
    due_ms: int
    client: Client | None


async def recover(
    server_url: str,
    code: str,
    store: Store,
    *,
    device_name: str,
    accept: Callable[[RecoveryPreview], bool] | bool,
    timing: Timing | None = None,
) -> Recovering:
    """Found an account anew whose devices are all lost; repeated with the same store, see how that stands.

    Args:
        accept: shown whose account it is, how long it takes, and the charter; True if the user
            accepted already.

    Raises:
        RefusedByServer: code_unknown, code_used, code_expired, recovering, suspended.
        ClientError: charter_declined, store_exists.
    """
    vault = Vault(store)
    calls = Calls(server_url)
    try:
        if vault.is_empty:
            preview = await enrolment.preview_recovery(calls, code)
            if not (accept if isinstance(accept, bool) else accept(preview)):
                raise ClientError(Trouble.CHARTER_DECLINED)
            enrolment.begin_enrolment(
                vault,
                server_url,
                code,
                preview,
                device_name=device_name,
                app=this_app(),
                recovering=True,
            )
        elif vault.info.stage != "recovering":
            raise ClientError(Trouble.STORE_EXISTS)
        stands = await enrolment.ask_recovery(vault, calls)
    finally:
        await calls.close()
    done = stands.state == "done"
    return Recovering(stands.state, stands.due, Client(vault, timing=timing) if done else None)
