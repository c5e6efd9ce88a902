"""How a device comes into being: an account's first one by a code, further ones by an invitation.

Keys are saved before anybody hears of them, so each call here may be repeated with the same store
after a failure. What it ends in is a `Client`.
"""

from miss_client import enrolment, sign_in
from miss_client.calls import Calls
from miss_client.client import Client, this_app
from miss_client.enrolment import Accept, Joining
from miss_client.errors import ClientError, Trouble
from miss_client.providers import Providers
from miss_client.sign_in import AskCode, Method, Show
from miss_client.store import Store
from miss_client.transport import Timing
from miss_client.vault import Vault
from miss_protocol.identity import link


async def enrol(
    server_url: str,
    code: str,
    store: Store,
    *,
    device_name: str,
    accept_charter: Accept | bool,
    timing: Timing | None = None,
) -> Client:
    """Enrol this device as an account's first.

    Repeat it with the same store after `Unreachable`: it goes on where it was.

    Args:
        accept_charter: shown whose account the code is of and the charter; True if the user
            accepted already.

    Raises:
        RefusedByServer: code_unknown, code_used, code_expired, already_enrolled.
        ClientError: charter_declined, store_exists.
    """
    vault = Vault(store)
    calls = Calls(server_url)
    try:
        if vault.is_empty:
            preview = await enrolment.preview_code(calls, code, join=False)
            enrolment.ask(preview, accept_charter)
            enrolment.begin_enrolment(
                vault, server_url, code, preview, device_name=device_name, app=this_app()
            )
        elif vault.info.stage != "enrolling":
            raise ClientError(Trouble.STORE_EXISTS)
        await enrolment.finish_enrolment(vault, calls)
    finally:
        await calls.close()
    return Client(vault, timing=timing)


async def enrol_by_provider(
    server_url: str,
    store: Store,
    *,
    device_name: str,
    accept_charter: Accept | bool,
    show: Show,
    ask_code: AskCode,
    method: Method = "code",
    hint: str = "",
    providers: Providers | None = None,
    timing: Timing | None = None,
) -> Client:
    """Enrol this device as the first of the account of whoever signs in at the identity provider.

    Repeat it with the same store after `Unreachable`: it goes on where it was.

    Args:
        show: opens the provider's page, or shows what the user's own app will ask (`ciba`).
        ask_code: asks the user for the code that the page shows in the end.
        hint: for `ciba`, the user's national identifier.

    Raises:
        RefusedByServer: sign_in_refused, identity_unproven, not_in_directory, already_enrolled,
            sign_in_over: begin anew with a new store.
        ClientError: charter_declined, store_exists, provider_untrusted, server_error.
    """
    vault = Vault(store)
    calls = Calls(server_url)
    try:
        await sign_in.enrol(
            vault,
            calls,
            providers or Providers(),
            server_url,
            device_name=device_name,
            app=this_app(),
            accept=accept_charter,
            show=show,
            ask_code=ask_code,
            method=method,
            hint=hint,
        )
    finally:
        await calls.close()
    return Client(vault, timing=timing)


class JoiningAccount:
    """A new device on its way into an account: show `approval_code`, then await `approved`."""

    def __init__(self, joining: Joining, vault: Vault, calls: Calls, timing: Timing | None) -> None:
        self._joining = joining
        self._vault = vault
        self._calls = calls
        self._timing = timing

    @property
    def approval_code(self) -> str:
        """What a device of the account must be told, by the person who holds both."""
        return self._joining.approval_code

    async def approved(self) -> Client:
        """Wait for the approval; then this is a client like any other.

        Once only: after `Unreachable` this object is closed. Repeat `join_account` with the same
        store, which goes on where it was, and await `approved` of what it returns.

        Raises:
            Unreachable: the server is away. Nothing is lost.
            RefusedByServer: the invitation ended; begin anew with another, and a new store.
            ServerError: rosters that do not hold, or of another account than the invitation's.
        """
        try:
            await self._joining.approved()
        finally:
            await self._calls.close()
        return Client(self._vault, timing=self._timing)

    async def close(self) -> None:
        """Give up for now; `join_account` with the same store goes on."""
        await self._calls.close()


async def join_account(
    server_url: str,
    invitation_code: str,
    store: Store,
    *,
    device_name: str,
    timing: Timing | None = None,
) -> JoiningAccount:
    """Ask to become a further device of the account that an invitation names.

    Repeat it with the same store after a failure: keys and approval code stay the same.

    Raises:
        RefusedByServer: code_unknown, code_expired.
        Malformed: not an invitation as `invite_device` makes it.
    """
    vault = Vault(store)
    calls = Calls(server_url, vault)
    try:
        if vault.is_empty:
            code, genesis_code = link.read_invitation(invitation_code)
            preview = await enrolment.preview_code(calls, code, join=True)
            enrolment.begin_joining(
                vault,
                server_url,
                code,
                preview,
                genesis_code=genesis_code,
                device_name=device_name,
            )
        elif vault.info.stage != "joining":
            raise ClientError(Trouble.STORE_EXISTS)
        joining = Joining(vault, calls, enrolment.wait)
        await joining.asked()
    except BaseException:
        await calls.close()
        raise
    return JoiningAccount(joining, vault, calls, timing)
