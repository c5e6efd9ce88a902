"""An account's devices: inviting, approving and revoking them, and their signed rosters."""

import secrets

import structlog
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api, limits
from miss_protocol.encoding import read_text
from miss_protocol.errors import CloseCode, Code, Malformed, Refused
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import roster
from miss_protocol.ids import parse_address
from miss_server.http.attestations import with_attesters
from miss_server.http.bodies import parse, read_bytes, reply
from miss_server.http.enrolment import (
    acceptance_of,
    having_code,
    normal_code,
    preview_of,
)
from miss_server.http.identity import attested_by
from miss_server.http.organisations import enrolled_by
from miss_server.http.services import services
from miss_server.http.signatures import certificate_of, signed
from miss_server.observe import short
from miss_server.storage.accounts import Account, Link

INVITATION_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
INVITATION_LENGTH = 10
"""49 bits for fifteen minutes: enough to find an account, and no more. What lets a device in is the
approval of its certificate's own code (spec 04-encryption §4)."""

log = structlog.get_logger()


async def invite(request: Request) -> Response:
    """`POST /v1/links/invitations`."""
    it = services(request)
    caller = await signed(request)
    code = "".join(secrets.choice(INVITATION_ALPHABET) for _ in range(INVITATION_LENGTH))
    now_ms = it.clock.now_ms()
    expires = now_ms + limits.LINK_TTL * 1000
    await it.accounts.invite(caller.device.account, code, expires_ms=expires, now_ms=now_ms)
    return reply(api.LinkInvitation(f"{code[:5]}-{code[5:]}", expires), 201)


async def _invited(request: Request, code: str) -> Account:
    it = services(request)
    return await having_code(
        request,
        code,
        lambda: it.accounts.account_of_invitation(code, now_ms=it.clock.now_ms()),
    )


async def preview(request: Request) -> Response:
    """`POST /v1/links/preview`."""
    given = parse(await read_bytes(request), api.CodeGiven)
    account = await _invited(request, normal_code(given.code))
    return reply(await preview_of(services(request), account))


async def ask(request: Request) -> Response:
    """`POST /v1/links`."""
    it = services(request)
    given = parse(await read_bytes(request), api.LinkRequest)
    code = normal_code(given.code)
    await _invited(request, code)
    certificate = certificates.decode(given.certificate)
    # As a roster will have it; and the approver's screen must not be written on.
    name = read_text(given.name.encode(), limit=limits.DEVICE_NAME_MAX)
    now_ms = it.clock.now_ms()
    await it.accounts.ask_link(code, Link(certificate, name, now_ms), now_ms=now_ms)
    return reply(api.LinkStatus(()), 202)


async def status(request: Request) -> Response:
    """`POST /v1/links/status`: the rosters once one of them lists the certificate."""
    it = services(request)
    given = parse(await read_bytes(request), api.LinkRequest)
    account = await _invited(request, normal_code(given.code))
    certificate = certificates.decode(given.certificate)
    record = await it.messages.device(certificate.device)
    if (
        certificate.account != account.address
        or record is None
        or record.signing_key != certificate.signing_key
    ):
        return reply(api.LinkStatus(()))
    chain = await it.accounts.rosters(account.address, after=0, now_ms=it.clock.now_ms())
    return reply(api.LinkStatus(tuple(chain.rosters) if chain else (), it.charter.version))


async def pending(request: Request) -> Response:
    """`GET /v1/links`."""
    it = services(request)
    caller = await signed(request)
    waiting = await it.accounts.links(caller.device.account, now_ms=it.clock.now_ms())
    return reply(
        api.PendingLinks(
            tuple(
                api.PendingLink(link.certificate.encode(), link.name, link.created_ms)
                for link in waiting
            )
        )
    )


async def change_roster(request: Request) -> Response:
    """`POST /v1/rosters`: version + 1, or the one in force again; also from a device that this server does
    not know since it was restored. What lets a roster in is the signature inside it, whoever brings it."""
    it = services(request)
    caller = await signed(
        request, introduced=lambda body: parse(body, api.RosterProposed).certificate
    )
    proposed = roster.decode(parse(caller.body, api.RosterProposed).roster)
    if proposed.account != caller.device.account:
        raise Refused(Code.UNTRUSTED, "a roster of another account")
    change = await it.accounts.change_roster(
        proposed, confirms=caller.known, now_ms=it.clock.now_ms()
    )
    it.hub.end(change.revoked, CloseCode.REVOKED)
    it.doorbell.revoked(change.revoked)
    it.doorbell.ring(change.ring)
    log.info(
        "roster changed",
        account=short(proposed.account),
        version=proposed.version,
        added=len(change.added),
        revoked=len(change.revoked),
        introduced=not caller.known,
    )
    return reply(api.RosterAccepted(proposed.version))


async def rosters(request: Request) -> Response:
    """`GET /v1/accounts/{address}/rosters?after=VERSION`."""
    it = services(request)
    await signed(request)
    address = parse_address(request.path_params["address"])
    try:
        after = int(request.query_params.get("after", "0"))
    except ValueError:
        raise Malformed("after is not a number") from None
    now_ms = it.clock.now_ms()
    chain = await it.accounts.rosters(address, after=max(0, min(after, 2**53)), now_ms=now_ms)
    if chain is None:
        raise Refused(Code.UNKNOWN_ACCOUNT)
    entry = await it.directory.entry(chain.person, now_ms=now_ms) if chain.person else None
    entry = await with_attesters(it, entry) if entry else None
    attested, shown = attested_by(await it.proofs.proof(address))
    recovery = await it.recoveries.recovery_of(address)
    return reply(
        api.Rosters(
            address,
            chain.name,
            entry.profession if entry else "",
            chain.person or "",
            attested,
            tuple(chain.rosters),
            tuple(chain.dormant),
            entry.attested_by if entry else (),
            proof=shown or UNSET,
            enrolled_by=await enrolled_by(it, address) or UNSET,
            recovering=UNSET if recovery is None else recovery.due_ms,
        )
    )


async def sign_charter(request: Request) -> Response:
    """`POST /v1/charter`: the charter's current version, accepted after enrolment."""
    it = services(request)
    caller = await signed(request)
    certificate = await certificate_of(it, caller.device)
    given = parse(caller.body, api.CharterSigned)
    acceptance = acceptance_of(it, given, certificate)
    await it.accounts.sign_charter(acceptance, now_ms=it.clock.now_ms())
    return reply(api.CharterAccepted(acceptance.version))
