"""What organisations' administrators do about their own people. Spec: 11-accounts §6."""

import secrets

import structlog
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.errors import CloseCode, Malformed
from miss_protocol.ids import AccountAddress, device_id, new_address
from miss_protocol.organisations import (
    Administered,
    AdministeredList,
    CodeIssued,
    CodeWanted,
    DevicesNamed,
    OrganisationDone,
    OrganisationPage,
    OrganisationPerson,
    PersonOfOrganisation,
)
from miss_server.doorbell.interface import News
from miss_server.http import cursors
from miss_server.http.bodies import parse, reply
from miss_server.http.services import Services, services
from miss_server.http.signatures import Caller, signed
from miss_server.observe import short
from miss_server.storage.audit import account
from miss_server.storage.code_letters import shown_code
from miss_server.storage.directory import name_of
from miss_server.storage.organisations import CodeRequest

PERSON_MAX = 96
"""Characters of an identifier (spec 05 §1.1)."""

log = structlog.get_logger()


async def administered(request: Request) -> Response:
    """`GET /v1/organisations`."""
    it = services(request)
    caller = await signed(request)
    now_ms = it.clock.now_ms()
    found = await it.organisations.administered(
        caller.device.account, most=it.settings.organisation_codes_per_day, now_ms=now_ms
    )
    names = await _names(it, [organisation for organisation, _ in found])
    return reply(
        AdministeredList(tuple(Administered(one, names.get(one, ""), left) for one, left in found))
    )


async def people(request: Request) -> Response:
    """`GET /v1/organisations/{organisation}/people?cursor=CURSOR`."""
    it = services(request)
    caller = await signed(request)
    found = await it.organisations.own_people(
        caller.device.account,
        _organisation(request),
        after=_place(request.query_params.get("cursor")),
        limit=limits.PAGE_MAX + 1,
        now_ms=it.clock.now_ms(),
    )
    shown = found[: limits.PAGE_MAX]
    names = await _names(it, [one.person for one in shown])
    return reply(
        OrganisationPage(
            tuple(
                OrganisationPerson(
                    one.person, names.get(one.person, ""), one.state, one.account, one.expires_ms
                )
                for one in shown
            ),
            cursors.write_text(shown[-1].person) if len(found) > len(shown) else None,
        )
    )


async def attest(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/people`."""
    it, caller, organisation = await _acting(request)
    person = parse(caller.body, PersonOfOrganisation).person
    await it.organisations.attest_own(
        caller.device.account, organisation, person, now_ms=it.clock.now_ms()
    )
    return _done(caller, organisation, "attested")


async def end(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/people/end`."""
    it, caller, organisation = await _acting(request)
    person = parse(caller.body, PersonOfOrganisation).person
    ended = await it.organisations.end_own(
        caller.device.account, organisation, person, now_ms=it.clock.now_ms()
    )
    # As every suspension: each device hears why, here at once, elsewhere as the doorbell rings.
    it.sweep.hear(News(sessions=tuple(ended.sessions)))
    for device, generation in ended.sessions:
        it.doorbell.began(device, generation)
    return _done(caller, organisation, "ended")


async def issue(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/codes`; repeated, it answers the same code."""
    it, caller, organisation = await _acting(request)
    given = parse(caller.body, CodeWanted)
    wanted = CodeRequest(
        caller.device.account,
        organisation,
        given.person,
        given.request,
        new_address(secrets.token_bytes(16), it.settings.domain),
    )
    made = await it.organisations.issue_code(
        wanted,
        ttl_ms=limits.ENROLMENT_CODE_TTL * 1000,
        most=it.settings.organisation_codes_per_day,
        now_ms=it.clock.now_ms(),
    )
    log.info("code issued", account=short(caller.device.account))
    answer = CodeIssued(made.person, made.name, shown_code(made.code), made.expires_ms)
    return reply(answer, 201)


async def end_codes(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/codes/end`."""
    it, caller, organisation = await _acting(request)
    person = parse(caller.body, PersonOfOrganisation).person
    await it.organisations.end_codes(
        caller.device.account, organisation, person, now_ms=it.clock.now_ms()
    )
    return _done(caller, organisation, "codes ended")


async def end_devices(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/devices/end`."""
    it, caller, organisation = await _acting(request)
    given = parse(caller.body, DevicesNamed)
    ended = await it.organisations.end_devices(
        caller.device.account,
        organisation,
        given.person,
        [device_id(one) for one in given.devices],
        now_ms=it.clock.now_ms(),
    )
    it.hub.end(ended.revoked, CloseCode.REVOKED)
    it.doorbell.revoked(ended.revoked)
    it.doorbell.ring(ended.ring)
    return _done(caller, organisation, "devices ended")


async def leave(request: Request) -> Response:
    """`POST /v1/organisations/{organisation}/leave`."""
    it = services(request)
    caller = await signed(request)
    own, organisation = caller.device.account, _organisation(request)
    await it.organisations.remove_administrator(
        organisation, own, actor=account(own), now_ms=it.clock.now_ms()
    )
    roles = await it.organisations.administrators(organisation)
    if roles and not any(one.acts for one in roles):
        log.warning("nobody acts for an organisation", organisation=organisation)
    return _done(caller, organisation, "administrator left")


async def enrolled_by(it: Services, address: AccountAddress) -> str:
    """Whose code an account's genesis was founded with: an organisation's name, empty for none's."""
    organisation = await it.organisations.enrolled_by(address)
    if not organisation:
        return ""
    # Also of one that has left the directory since: something must be shown.
    return (await _names(it, [organisation])).get(organisation) or organisation


async def _acting(request: Request) -> tuple[Services, Caller, str]:
    """A call about one of an organisation's people."""
    it = services(request)
    caller = await signed(request)
    # As a look-up: whoever acts could else count identifiers through by it.
    await it.throttle.look_up(caller.device.account, caller.device.id)
    return it, caller, _organisation(request)


def _organisation(request: Request) -> str:
    named: str = request.path_params["organisation"]
    if len(named) > PERSON_MAX or not named.isprintable():
        raise Malformed("no identifier")
    return named


def _done(caller: Caller, organisation: str, what: str) -> Response:
    log.info(what, account=short(caller.device.account))
    return reply(OrganisationDone(organisation))


async def _names(it: Services, persons: list[str]) -> dict[str, str]:
    if not persons:
        return {}
    found = await it.directory.entries(persons, now_ms=it.clock.now_ms())
    return {person: name_of(entry) for person, entry in found.items()}


def _place(cursor: str | None) -> str:
    """The person after whom a page begins; empty for the first one."""
    if cursor is None:
        return ""
    person = cursors.read_text(cursor)
    if not person or not person.isprintable():
        raise Malformed("not a cursor")
    return person
