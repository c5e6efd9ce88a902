"""Enrolling by the national identity provider, and proving oneself anew. Spec: 10-identity-provider §2.

The genesis is made first; the sign-in's nonce is its hash. This client looks at the URL before anybody
is sent there, and at the token before it calls itself enrolled: the server is believed in neither.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import UNSET

from miss_client import enrolment
from miss_client.calls import Calls, Nothing
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble
from miss_client.providers import Providers
from miss_client.records import Vouched
from miss_client.vault import Vault
from miss_protocol.api import Enrol, EnrolmentPreview
from miss_protocol.errors import Code, Unproven, code_of
from miss_protocol.frames import App
from miss_protocol.identity import proof
from miss_protocol.identity.roster import decode
from miss_protocol.sign_in import (
    SignedIn,
    SignInAsked,
    SignInBegin,
    SignInBegun,
    SignInConfirm,
    SignInOpened,
    SignInStatus,
)
from miss_protocol.vouching import ProofShown

_PATH = "/v1/identity/sign-ins"

Method = Literal["code", "ciba"]
Show = Callable[[SignInBegun], None]
"""Opens `url` in the user's browser, or shows `message`, which their own app shows, too."""
AskCode = Callable[[SignInStatus], Awaitable[str]]
"""Asks the user for the code that the page shows; `name` is who signed in."""


@dataclass
class SignIn:
    """One sign-in from its opening to its end."""

    calls: Calls
    providers: Providers
    opened: SignInOpened
    genesis: bytes
    show: Show
    ask_code: AskCode
    method: Method = "code"
    hint: str = ""

    async def run(self, enrol: Enrol | None) -> SignedIn:
        """Have the user sign in, and carry it out.

        Raises:
            Unreachable: run it again.
            RefusedByServer: why it came to nothing.
            ClientError: provider_untrusted, server_error: the URL is not what it must be.
        """
        if not self.providers.trusts(self.opened.provider.issuer):
            raise ClientError(Trouble.PROVIDER_UNTRUSTED, self.opened.provider.issuer)
        now = await self._status()
        if now.stage in ("open", "waiting", "failed"):
            await self._begin(renews=enrol is None)
            now = await self._ended()
        if now.stage == "failed":
            raise RefusedByServer(code_of(now.code) or Code.SIGN_IN_REFUSED)
        return await self._confirm(now, enrol)

    async def _begin(self, *, renews: bool) -> None:
        genesis = UNSET if renews else self.genesis
        body = SignInBegin(self.opened.sign_in, self.method, genesis, self.hint)
        begun = await self.calls.post_open(f"{_PATH}/begin", body, SignInBegun)
        if self.method == "code":
            await self._check(begun.url)
        self.show(begun)

    async def _check(self, url: str) -> None:
        """Spec 10 §2.1: else the server would have the user vouch for a genesis of its own."""
        page = await self.providers.authorization(self.opened.provider.issuer)
        asked = parse_qs(urlsplit(url).query)
        wanted = {"client_id": [self.opened.provider.client], "nonce": [proof.nonce(self.genesis)]}
        if urlsplit(url)._replace(query="") != urlsplit(page)._replace(query="") or any(
            asked.get(name) != value for name, value in wanted.items()
        ):
            raise ServerError("a sign-in for something else than this account's genesis")

    async def _ended(self) -> SignInStatus:
        while True:
            now = await self._status()
            if now.stage != "waiting":
                return now
            await enrolment.wait(min(max(now.poll, 1), 30))

    async def _status(self) -> SignInStatus:
        asked = SignInAsked(self.opened.sign_in)
        return await self.calls.post_open(f"{_PATH}/status", asked, SignInStatus)

    async def _confirm(self, now: SignInStatus, enrol: Enrol | None) -> SignedIn:
        while True:
            code = await self.ask_code(now) if now.stage == "signed_in" else ""
            body = SignInConfirm(self.opened.sign_in, read_code(code), enrol or UNSET)
            try:
                return await self.calls.post_open(f"{_PATH}/confirm", body, SignedIn)
            except RefusedByServer as refused:
                if refused.code is not Code.CONFIRMATION_WRONG:
                    raise


def read_code(text: str) -> str:
    """The page's code as it was typed, or pasted as the link that opens the app."""
    return text.strip().rpartition("code=")[2][:64]


async def enrol(
    vault: Vault,
    calls: Calls,
    providers: Providers,
    server: str,
    *,
    device_name: str,
    app: App,
    accept: enrolment.Accept | bool,
    show: Show,
    ask_code: AskCode,
    method: Method = "code",
    hint: str = "",
) -> None:
    """Enrol this device as an account's first. Raises as `SignIn.run`."""
    if vault.is_empty:
        opened = await calls.post_open(_PATH, Nothing(), SignInOpened)
        if not providers.trusts(opened.provider.issuer):
            raise ClientError(Trouble.PROVIDER_UNTRUSTED, opened.provider.issuer)
        preview = EnrolmentPreview(opened.account, "", "", opened.charter)
        enrolment.ask(preview, accept)
        enrolment.begin_enrolment(
            vault, server, "", preview, device_name=device_name, app=app, sign_in=opened
        )
    info = vault.info
    if info.sign_in is None:
        raise ClientError(Trouble.STORE_EXISTS)
    body = msgspec.json.decode(info.call, type=Enrol)
    genesis = decode(body.roster).genesis
    one = SignIn(calls, providers, info.sign_in, genesis, show, ask_code, method, hint)
    done = await one.run(body)
    if done.account != info.account:
        raise ServerError("another account was enrolled")
    vouched = await _own(providers, one, done, vault.clock())
    enrolment.finish_sign_in(vault, done, vouched)


async def renew(
    vault: Vault,
    calls: Calls,
    providers: Providers,
    genesis: bytes,
    *,
    show: Show,
    ask_code: AskCode,
    method: Method = "code",
) -> SignedIn:
    """Prove this account's person anew, for the same genesis. Raises as `SignIn.run`."""
    opened = await calls.post("/v1/identity/renewals", Nothing(), SignInOpened)
    if opened.account != vault.account:
        raise ServerError("a renewal of another account")
    one = SignIn(calls, providers, opened, genesis, show, ask_code, method)
    return await one.run(None)


async def _own(providers: Providers, one: SignIn, done: SignedIn, now_ms: int) -> Vouched | None:
    """Check the token for this very account: if it does not hold here, it will not for anybody."""
    if not isinstance(done.proof, ProofShown):
        return None
    try:
        return await providers.vouched(
            done.proof,
            genesis=one.genesis,
            person=done.person,
            client=one.opened.provider.client,
            now_ms=now_ms,
        )
    except Unproven as unproven:
        raise ServerError(f"a token that does not hold: {unproven.reason}") from None
