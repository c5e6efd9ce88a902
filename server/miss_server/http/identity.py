"""Sign-ins at the identity provider: opened by an app, carried out once a person has signed in.

The app's secret opens nothing but its own sign-in, and the browser's state is used once. Between them
stands a code that the page shows to who signed in and that the app asks for: else whoever sends
somebody a link could have their own genesis vouched for by that person's sign-in (10 §2.2).

Anybody may open and begin one, so that little is done for it before a person is proven: nothing is kept of
one that is opened, and a hash or two of one that is begun. The enrolment comes, and is checked, in the end.
"""

import secrets
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api, sign_in
from miss_protocol.errors import Code, Malformed, Refused, Unproven
from miss_protocol.identity import proof, roster
from miss_protocol.ids import AccountAddress, new_address
from miss_protocol.vouching import ProofShown
from miss_server.http.bodies import parse, read_bytes, reply
from miss_server.http.enrolment import enrolment_of, normal_code, peer_address
from miss_server.http.identity_pages import begun_page, over_page
from miss_server.http.services import Services, services
from miss_server.http.signatures import signed
from miss_server.observe import short
from miss_server.provider.answers import SLOWER_BY, Granted, NotYet
from miss_server.storage.proofs import Begun, Proof, Shown, SignIn

if TYPE_CHECKING:
    # Loaded where a provider is set: see `app.provider_of`.
    from miss_server.provider.signing_in import Provider

SIGN_IN_SECONDS = 15 * 60
"""From opening a sign-in to carrying it out: finding a card and its reader takes minutes."""
POLL_SECONDS = 2
CONFIRMATION_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CONFIRMATION_LENGTH = 10
_DAY_MS = 24 * 3600 * 1000

log = structlog.get_logger()


def provider_of(it: Services) -> "Provider":
    """The provider of this server. Raises `Refused(unsupported)` if it has none."""
    if it.provider is None:
        raise Refused(Code.UNSUPPORTED, "no identity provider")
    return it.provider


async def open_sign_in(request: Request) -> Response:
    """`POST /v1/identity/sign-ins`."""
    it = services(request)
    provider_of(it)
    account, expires = new_address(secrets.token_bytes(16), it.settings.domain), _expires(it)
    secret = await it.proofs.new_sign_in(account, expires_ms=expires)
    return _opened(it, secret, account, expires)


async def open_renewal(request: Request) -> Response:
    """`POST /v1/identity/renewals`; also by an account that is suspended for want of it."""
    it = services(request)
    provider_of(it)
    caller = await signed(request, suspended=True)
    account, expires = caller.device.account, _expires(it)
    await it.throttle.renewal(account)
    secret = secrets.token_urlsafe(32)
    await it.proofs.open_renewal(secret, account, expires_ms=expires, now_ms=it.clock.now_ms())
    return _opened(it, secret, account, expires)


def _expires(it: Services) -> int:
    return it.clock.now_ms() + SIGN_IN_SECONDS * 1000


def _opened(it: Services, secret: str, account: AccountAddress, expires: int) -> Response:
    info = it.provider_info
    assert info is not None  # noqa: S101  # the caller has looked
    return reply(sign_in.SignInOpened(secret, account, it.charter, info, expires), 201)


async def begin(request: Request) -> Response:
    """`POST /v1/identity/sign-ins/begin`."""
    it = services(request)
    provider = provider_of(it)
    given = parse(await read_bytes(request), sign_in.SignInBegin)
    one = await it.proofs.sign_in(given.sign_in, now_ms=it.clock.now_ms())
    genesis = await _genesis(it, one, given)
    if given.method == "ciba":
        return await _ask_person(request, provider, given, one)
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    url = await provider.url(state=state, nonce=proof.nonce(genesis), verifier=verifier)
    begun = Begun("code", _kept(one, given), state=state, verifier=verifier)
    await _note_begun(request, one, given.sign_in, begun)
    return reply(sign_in.SignInBegun(url, "", one.expires_ms))


async def _note_begun(request: Request, one: SignIn, secret: str, begun: Begun) -> None:
    beginnings = services(request).beginnings
    if one.renews:
        await beginnings.of_account(secret, begun)
    else:
        await beginnings.of_stranger(peer_address(request), secret, begun)


async def _genesis(it: Services, one: SignIn, given: sign_in.SignInBegin) -> bytes:
    """The genesis that the sign-in is to vouch for."""
    if one.renews:
        return await _genesis_of(it, one.account)
    if not isinstance(given.genesis, bytes):
        raise Malformed("no genesis")
    return given.genesis


def _kept(one: SignIn, given: sign_in.SignInBegin) -> bytes:
    return given.genesis if isinstance(given.genesis, bytes) and not one.renews else b""


async def _genesis_of(it: Services, account: AccountAddress) -> bytes:
    chain = await it.accounts.rosters(account, after=0, now_ms=it.clock.now_ms())
    if chain is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    return roster.decode(chain.rosters[0]).genesis


async def _ask_person(
    request: Request, provider: "Provider", given: sign_in.SignInBegin, one: SignIn
) -> Response:
    it = services(request)
    if not provider.settings.ciba:
        raise Refused(Code.UNSUPPORTED, "ciba")
    person = given.hint
    if one.renews:
        account = await it.accounts.find(one.account)
        person = (account.person or "") if account else ""
    if not person:
        raise Malformed("nobody to ask")
    # It rings at a person's side: nobody may be rung at will, by their public number.
    # The address first: one that is over its limit must not use up a person's few rings.
    if not one.renews:
        await it.throttle.ring_from(peer_address(request))
        # And only by the spelling that the directory has: another one would have rings of its own.
        if await it.directory.entry(person, now_ms=it.clock.now_ms()) is None:
            raise Refused(Code.NOT_IN_DIRECTORY)
    await it.throttle.ring_person(person)
    message = f"MiSS {secrets.randbelow(9000) + 1000}"
    asked = await provider.ask_person(person, message)
    begun = Begun(
        "ciba",
        _kept(one, given),
        request=asked.request,
        interval=asked.interval,
        hint=person,
    )
    await _note_begun(request, one, given.sign_in, begun)
    expires = min(one.expires_ms, it.clock.now_ms() + asked.expires * 1000)
    return reply(sign_in.SignInBegun("", message, expires))


async def callback(request: Request) -> Response:
    """`GET /v1/identity/callback`: the browser comes back from the provider. Answers a page."""
    it = services(request)
    asked = request.query_params
    try:
        provider = provider_of(it)
        one = await it.proofs.take_state(asked.get("state", "")[:128], now_ms=it.clock.now_ms())
    except Refused as refused:
        return over_page(request, refused.code)
    if asked.get("iss", provider.settings.issuer) != provider.settings.issuer:
        return await _failed(request, it, one, Unproven("issuer"))  # RFC 9207: a mixed-up answer
    code = asked.get("code", "")
    if not code or len(code) > 4096:
        log.info("sign-in refused", why=_plain(asked.get("error", "")))
        return await _failed(request, it, one, Refused(Code.SIGN_IN_REFUSED))
    try:
        granted = await provider.exchange(code, verifier=one.verifier)
        shown = await _shown(it, provider, one, granted)
    except (Refused, Unproven) as fault:
        return await _failed(request, it, one, fault)
    confirmation = "".join(
        secrets.choice(CONFIRMATION_ALPHABET) for _ in range(CONFIRMATION_LENGTH)
    )
    if not await it.proofs.note_shown(one, shown, confirmation=confirmation):
        return over_page(request, Code.SIGN_IN_OVER)
    provider.tally.outcomes["proven"] += 1
    return begun_page(request, shown.name, confirmation)


async def _failed(
    request: Request, it: Services, one: SignIn, fault: Refused | Unproven
) -> Response:
    await _note_failed(it, one, fault)
    return over_page(request, fault.code, getattr(fault, "reason", ""))


async def _note_failed(it: Services, one: SignIn, fault: Refused | Unproven) -> None:
    """Keep why, for the app; how often, for the operator; and nothing of the token."""
    reason = fault.reason if isinstance(fault, Unproven) else ""
    outcome = {
        Code.IDENTITY_UNPROVEN: "unproven",
        Code.NOT_IN_DIRECTORY: "unknown",
    }.get(fault.code, "refused")
    provider_of(it).tally.outcomes[outcome] += 1
    log.warning("sign-in failed", reason=fault.code.wire, about=reason or str(fault))
    await it.proofs.note_failed(one, fault.code.wire, reason)


async def _shown(it: Services, provider: "Provider", one: SignIn, granted: Granted) -> Shown:
    """What new tokens prove, and of whom in the directory.

    Raises:
        Unproven, Refused: not_in_directory, another_person, provider_unreachable.
    """
    now_ms, genesis = it.clock.now_ms(), None
    if one.method == "code":
        genesis = await _named(it, one)
    found = await provider.proven(granted, genesis=genesis, since_ms=one.begun_ms, now_ms=now_ms)
    person = await _person(it, one, found.said.persons)
    return Shown(
        person=person.person,
        name=person.name,
        issuer=provider.settings.issuer,
        client=provider.settings.client_id,
        token=found.token,
        level=found.said.assurance,
        issued_ms=found.said.issued_ms,
        userinfo=found.userinfo,
    )


async def _named(it: Services, one: SignIn) -> bytes:
    if one.renews:
        return await _genesis_of(it, one.account)
    return one.genesis


class _Person(NamedTuple):
    person: str
    name: str


async def _person(it: Services, one: SignIn, persons: tuple[str, ...]) -> _Person:
    """The one of these identifiers that counts: of an account, its own; else the directory's."""
    if one.renews:
        account = await it.accounts.find(one.account)
        if account is None or account.person not in persons:
            raise Refused(Code.ANOTHER_PERSON)
        return _Person(account.person or "", account.name)
    if one.hint and one.hint not in persons:
        raise Refused(Code.ANOTHER_PERSON)
    for person in persons:
        entry = await it.directory.entry(person, now_ms=it.clock.now_ms())
        if entry is not None:
            name = " ".join(part for part in (entry.title, entry.given, entry.name) if part)
            return _Person(person, name)
    raise Refused(Code.NOT_IN_DIRECTORY)


async def status(request: Request) -> Response:
    """`POST /v1/identity/sign-ins/status`; for CIBA it asks the provider, as often as that allows."""
    it = services(request)
    provider = provider_of(it)
    given = parse(await read_bytes(request), sign_in.SignInAsked)
    one = await it.proofs.sign_in(given.sign_in, now_ms=it.clock.now_ms())
    if (
        one.stage == "waiting"
        and one.method == "ciba"
        and await it.proofs.may_poll(one, now_ms=it.clock.now_ms())
    ):
        await _poll(it, provider, one)
        one = await it.proofs.sign_in(given.sign_in, now_ms=it.clock.now_ms())
    shown = one.shown
    return reply(
        sign_in.SignInStatus(
            one.stage,
            POLL_SECONDS,
            one.code,
            one.reason,
            shown.name if shown else "",
            shown.person if shown else "",
        )
    )


async def _poll(it: Services, provider: "Provider", one: SignIn) -> None:
    try:
        answer = await provider.poll(one.request)
        if isinstance(answer, NotYet):
            if answer.slower:
                await it.proofs.poll_slower(one, SLOWER_BY)
            return
        shown = await _shown(it, provider, one, answer)
    except (Refused, Unproven) as fault:
        if fault.code is not Code.PROVIDER_UNREACHABLE:
            await _note_failed(it, one, fault)
        return
    # What the person saw beside their own app's question is the confirmation.
    if await it.proofs.note_shown(one, shown, confirmation=""):
        provider.tally.outcomes["proven"] += 1


async def confirm(request: Request) -> Response:
    """`POST /v1/identity/sign-ins/confirm`."""
    it = services(request)
    given = parse(await read_bytes(request), sign_in.SignInConfirm)
    now_ms = it.clock.now_ms()
    right = await it.proofs.confirm(given.sign_in, normal_code(given.confirmation), now_ms=now_ms)
    if not right:
        raise Refused(Code.CONFIRMATION_WRONG)
    one = await it.proofs.sign_in(given.sign_in, now_ms=now_ms)
    first = None
    if not one.renews and one.stage != "done":
        if not isinstance(given.enrol, api.Enrol):
            raise Malformed("no enrolment")
        first = enrolment_of(it, given.enrol)
    account = await it.proofs.finish(given.sign_in, first, now_ms=now_ms)
    log.info("identity proven", account=short(account), renewed=one.renews, method=one.method)
    found = await it.proofs.proof(account)
    attested, shown = attested_by(found)
    whose = await it.accounts.find(account)
    assert whose is not None  # noqa: S101  # it was opened a moment ago
    answer = sign_in.SignedIn(account, whose.name, whose.person or "", attested)
    if shown is not None:
        answer.proof = shown
    return reply(answer)


def attested_by(found: Proof | None) -> tuple[str, ProofShown | None]:
    """Who vouches, and by what: only a token that names the genesis is the provider's word (A4)."""
    if found is None or not found.token:
        return "operator", None
    shown = ProofShown(found.issuer, found.client, found.token, found.userinfo or UNSET)
    return "provider", shown


async def held(request: Request) -> Response:
    """`GET /v1/identity`."""
    it = services(request)
    caller = await signed(request, suspended=True)
    found = await it.proofs.proof(caller.device.account)
    attested, _ = attested_by(found)
    answer = sign_in.ProofHeld(attested)
    if found is not None:
        answer.proved, answer.level = found.proved_ms, found.level
        days = it.settings.provider_renew_days
        if days and it.provider is not None:
            by = found.proved_ms + days * _DAY_MS
            answer.renew_by = by
            answer.ends = by + it.settings.provider_grace_days * _DAY_MS
            notice = by - it.settings.provider_notice_days * _DAY_MS
            answer.due = it.clock.now_ms() >= notice
    return reply(answer)


def _plain(text: str) -> str:
    """An error's name for the log: what a browser was made to bring may say anything."""
    return text if text.isascii() and text.isidentifier() and len(text) < 64 else "?"
