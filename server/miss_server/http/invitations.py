"""People who are not on MiSS: inviting them, and waiting for them.

Whether somebody has joined is what the directory shows of them to whoever asks, no more: who may not
find an account is told neither that it is there, nor when it came.
"""

from collections.abc import Sequence

import structlog
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.directory import Entry
from miss_protocol.errors import Code, Refused
from miss_protocol.invitations import InvitationPage, PersonNamed, Wish, Wishes
from miss_server.http import cursors
from miss_server.http.bodies import parse, reply
from miss_server.http.services import Services, services
from miss_server.http.signatures import Caller, signed
from miss_server.observe import short
from miss_server.storage.directory import name_of
from miss_server.storage.invitations import WishMade

log = structlog.get_logger()


async def invite(request: Request) -> Response:
    """`POST /v1/invitations`."""
    it = services(request)
    caller = await signed(request)
    person = await _not_on_miss(it, caller)
    account, now_ms = caller.device.account, it.clock.now_ms()
    await it.invitations.invite_person(account, person, now_ms=now_ms)
    log.info("invited", account=short(account))
    return await _page(it, caller, None)


async def made(request: Request) -> Response:
    """`GET /v1/invitations?cursor=CURSOR`."""
    caller = await signed(request)
    before = cursors.read(request.query_params.get("cursor"))
    return await _page(services(request), caller, before)


async def wish(request: Request) -> Response:
    """`POST /v1/wishes`."""
    it = services(request)
    caller = await signed(request)
    person = await _not_on_miss(it, caller)
    await it.invitations.wish(caller.device.account, person, now_ms=it.clock.now_ms())
    return await _wishes(it, caller)


async def withdraw(request: Request) -> Response:
    """`POST /v1/wishes/withdraw`."""
    it = services(request)
    caller = await signed(request)
    person = parse(caller.body, PersonNamed).person
    await it.invitations.withdraw_wish(caller.device.account, person)
    return await _wishes(it, caller)


async def wishes(request: Request) -> Response:
    """`GET /v1/wishes`."""
    return await _wishes(services(request), await signed(request))


async def _not_on_miss(it: Services, caller: Caller) -> str:
    """The person that a call is about.

    Raises:
        Refused: `not_found`, nobody of the directory; `on_miss`, they can be written to.
    """
    person = parse(caller.body, PersonNamed).person
    # As a search: numbers of the register can be counted through.
    await it.throttle.look_up(caller.device.account, caller.device.id)
    entry = (await _entries(it, caller, [person])).get(person)
    if entry is None:
        raise Refused(Code.NOT_FOUND)
    own = await it.accounts.find(caller.device.account)
    if entry.account is not None or (own is not None and own.person == person):
        raise Refused(Code.ON_MISS)
    return person


async def _entries(it: Services, caller: Caller, persons: Sequence[str]) -> dict[str, Entry]:
    """Entries as the caller may see them."""
    return await it.directory.entries(
        persons, account=caller.device.account, now_ms=it.clock.now_ms()
    )


async def _wishes(it: Services, caller: Caller) -> Response:
    now_ms = it.clock.now_ms()
    made = await it.invitations.wishes(caller.device.account, now_ms=now_ms)
    entries = await _entries(it, caller, [one.person for one in made]) if made else {}
    return reply(Wishes(tuple(_shown(one, entries.get(one.person)) for one in made)))


def _shown(made: WishMade, entry: Entry | None) -> Wish:
    expires = made.at_ms + limits.WISH_TTL * 1000
    if entry is None:
        return Wish(made.person, made.at_ms, expires, "", "", "none", None)
    return Wish(
        made.person,
        made.at_ms,
        expires,
        name_of(entry),
        entry.profession,
        entry.reach,
        entry.account,
    )


async def _page(it: Services, caller: Caller, before: tuple[int, str] | None) -> Response:
    found, left = await it.invitations.invitations(
        caller.device.account,
        before=before,
        limit=limits.PAGE_MAX + 1,
        now_ms=it.clock.now_ms(),
    )
    shown = found[: limits.PAGE_MAX]
    following = None
    if len(found) > len(shown):
        following = cursors.write(shown[-1].at, shown[-1].person)
    return reply(InvitationPage(tuple(shown), left, following))
