"""An account's first device: whose code this is, and using it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import prekeys, roster
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.charter import CharterAcceptance
from miss_server.edge.addresses import subscriber
from miss_server.http.bodies import parse, read_bytes, reply
from miss_server.http.services import Services, services
from miss_server.observe import short
from miss_server.storage.accounts import Account, Enrolment

log = structlog.get_logger()


def normal_code(text: str) -> str:
    """A code as it is kept: capitals and digits, however it was typed."""
    return "".join(character for character in text.upper() if character.isalnum())


def peer_address(request: Request) -> str:
    """The address that a guess counts against; of IPv6 the network, which one subscriber holds."""
    return subscriber(request.client.host if request.client else "unknown")


async def server_info(request: Request) -> Response:
    """`GET /v1/server`."""
    it = services(request)
    return reply(
        api.ServerInfo(
            it.settings.domain,
            it.clock.now_ms(),
            ("miss.v1.msgpack", "miss.v1.json"),
            it.charter,
            dict(it.settings.minimum_app),
            it.provider_info or UNSET,
        )
    )


async def preview(request: Request) -> Response:
    """`POST /v1/enrolment/preview`."""
    it = services(request)
    given = parse(await read_bytes(request), api.CodeGiven)
    return reply(await preview_of(it, await account_of(request, given.code)))


async def account_of(request: Request, code: str) -> Account:
    """The account behind an enrolment code, for whoever has the code."""
    it, normal = services(request), normal_code(code)
    return await having_code(
        request, normal, lambda: it.accounts.account_of_code(normal, now_ms=it.clock.now_ms())
    )


async def having_code(
    request: Request, code: str, whose: Callable[[], Awaitable[Account]]
) -> Account:
    """Whose code this is. Wrong ones count against the caller's address, one that is over against itself.

    Args:
        whose: looks the code up, and refuses one that is wrong or over.
    """
    it, address = services(request), peer_address(request)
    async with it.throttle.using_code(address, code):
        return await it.throttle.look_up_code(address, whose)


async def preview_of(it: Services, account: Account) -> api.EnrolmentPreview:
    """What a user confirms before a device joins an account."""
    entry = None
    if account.person is not None:
        entry = await it.directory.entry(account.person, now_ms=it.clock.now_ms())
    return api.EnrolmentPreview(
        account.address, account.name, entry.profession if entry else "", it.charter
    )


@asynccontextmanager
async def using_code(
    request: Request, code: str, whose: Callable[[], Awaitable[Account]]
) -> AsyncIterator[None]:
    """Around what uses a code: nothing of it is begun with a wrong one. A used code may be this very call,
    whose reply was lost: it counts as over if the block fails.

    Args:
        whose: as for `having_code`.
    """
    it, address = services(request), peer_address(request)
    async with it.throttle.using_code(address, code) as trial:
        try:
            await it.throttle.look_up_code(address, whose)
        except Refused as refused:
            trial.doubted = refused.code is Code.CODE_USED
            if not trial.doubted:
                raise
        yield


async def enrol(request: Request) -> Response:
    """`POST /v1/enrolment`."""
    it, now_ms = services(request), services(request).clock.now_ms()
    given = parse(await read_bytes(request), api.Enrol)
    code = normal_code(given.code)
    # Before fifty signatures are checked: who guesses must not buy time on our processor.
    async with using_code(request, code, lambda: it.accounts.account_of_code(code, now_ms=now_ms)):
        enrolment = enrolment_of(it, given)
        account = await it.accounts.enrol(enrolment, now_ms=now_ms)
    device = enrolment.roster.entries[0].device
    log.info("enrolled", account=short(account), device=short(device))
    return reply(api.Enrolled(account, device, enrolment.roster.version))


def enrolment_of(it: Services, given: api.Enrol) -> Enrolment:
    """Check everything about an account's first device but who it is.

    Raises:
        Malformed, Untrusted, Refused: untrusted, charter_required.
    """
    genesis = roster.decode(given.roster)
    roster.verify_genesis(genesis, genesis.account)
    if len(genesis.entries) != 1:
        raise Refused(Code.UNTRUSTED, "a genesis with several devices")
    certificate = genesis.entries[0].certificate
    keys = [prekeys.decode(blob) for blob in given.prekeys]
    for key in keys:
        key.verify(certificate)
    if not any(key.last_resort for key in keys):
        raise Refused(Code.UNTRUSTED, "no last resort")
    acceptance = acceptance_of(it, given.charter, certificate)
    app = f"{given.app.name} {given.app.version} {given.app.platform}"[:200]
    return Enrolment(normal_code(given.code), genesis, keys, acceptance, app)


def acceptance_of(
    it: Services, given: api.CharterSigned, certificate: DeviceCertificate
) -> CharterAcceptance:
    """Check an acceptance of the charter in force by the device of `certificate`.

    Raises:
        Refused: `charter_required` if it is of another version or text.
        Untrusted: the signature does not hold.
    """
    if (given.version, given.hash) != (it.charter.version, it.charter.hash):
        raise Refused(Code.CHARTER_REQUIRED)
    acceptance = CharterAcceptance(
        certificate.account,
        certificate.device,
        given.version,
        given.hash,
        given.at,
        given.signature,
    )
    acceptance.verify(certificate)
    return acceptance
