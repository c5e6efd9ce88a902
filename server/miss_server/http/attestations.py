"""Vouching for people without a national number, and saying with each of them who does (rule F2)."""

from collections.abc import Sequence

import structlog
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.account import Attest, Attestation, Attestations
from miss_protocol.directory import Entry
from miss_server.http.bodies import parse, reply
from miss_server.http.services import Services, services
from miss_server.http.signatures import Caller, signed
from miss_server.observe import short
from miss_server.storage.directory import is_unnumbered, name_of

log = structlog.get_logger()


async def attest(request: Request) -> Response:
    """`POST /v1/attestations`."""
    it = services(request)
    caller = await signed(request)
    person = parse(caller.body, Attest).person
    # As a look-up: identifiers can be counted through by it.
    await it.throttle.look_up(caller.device.account, caller.device.id)
    await it.attestations.attest(
        caller.device.account,
        person,
        most=it.settings.attestations_max,
        now_ms=it.clock.now_ms(),
    )
    log.info("attested", account=short(caller.device.account))
    return await _given(it, caller)


async def withdraw(request: Request) -> Response:
    """`POST /v1/attestations/withdraw`."""
    it = services(request)
    caller = await signed(request)
    await it.attestations.withdraw_attestation(
        caller.device.account, parse(caller.body, Attest).person, now_ms=it.clock.now_ms()
    )
    log.info("attestation withdrawn", account=short(caller.device.account))
    return await _given(it, caller)


async def given(request: Request) -> Response:
    """`GET /v1/attestations`."""
    return await _given(services(request), await signed(request))


async def _given(it: Services, caller: Caller) -> Response:
    shown = []
    for one in await it.attestations.attestations_by(caller.device.account):
        entry = await it.directory.entry(one.person, now_ms=it.clock.now_ms())
        shown.append(Attestation(one.person, name_of(entry) if entry else "", one.at_ms))
    return reply(Attestations(tuple(shown), it.settings.attestations_max))


async def with_attesters(it: Services, entry: Entry) -> Entry:
    """An entry with all who vouch for somebody without a national number: the organisation, then people."""
    if not is_unnumbered(entry):
        return entry
    (entry,), organisations = await _told_apart(it, [entry])
    names = [name_of(organisations[entry.part_of])] if entry.part_of else []
    found = await it.attestations.attestations_of([entry.person])
    names += [one.name for one in found if one.holds]
    return replace(entry, attested_by=tuple(names))


async def shown_with_attesters(it: Services, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Results of a search with the people who vouch for them; `part_of` names the organisation."""
    wanted = [entry.person for entry in entries if is_unnumbered(entry)]
    if not wanted:
        return tuple(entries)
    entries, _ = await _told_apart(it, entries)
    names: dict[str, list[str]] = {}
    for one in await it.attestations.attestations_of(wanted):
        if one.holds:
            names.setdefault(one.person, []).append(one.name)
    return tuple(
        replace(entry, attested_by=tuple(names[entry.person])) if entry.person in names else entry
        for entry in entries
    )


async def _told_apart(
    it: Services, entries: Sequence[Entry]
) -> tuple[tuple[Entry, ...], dict[str, Entry]]:
    """Entries without the organisation of those for whom it vouches no more, whatever a list says, or that
    the directory does not have; and the organisations."""
    wanted = [entry for entry in entries if is_unnumbered(entry) and entry.part_of]
    if not wanted:
        return tuple(entries), {}
    ended = await it.organisations.unvouched([entry.person for entry in wanted])
    named = sorted({entry.part_of for entry in wanted})
    organisations = await it.directory.entries(named, now_ms=it.clock.now_ms())
    lost = {
        entry.person
        for entry in wanted
        if entry.part_of not in organisations or (entry.part_of, entry.person) in ended
    }
    shown = tuple(
        replace(entry, part_of="") if entry.person in lost else entry for entry in entries
    )
    return shown, organisations
