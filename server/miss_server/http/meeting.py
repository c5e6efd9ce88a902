"""Contacts, requests and reach over HTTP. Spec: 08-meeting."""

from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.ids import parse_address
from miss_protocol.meeting import Contact, ContactAct, ContactsPage, ReachRules, Stance
from miss_server.http.bodies import parse, reply
from miss_server.http.services import services
from miss_server.http.signatures import signed
from miss_server.storage.meeting import Relation

PAGE = 100
"""Contacts of one answer."""


async def contacts(request: Request) -> Response:
    """`GET /v1/contacts?cursor=CURSOR`."""
    it = services(request)
    caller = await signed(request)
    after = request.query_params.get("cursor", "")
    if after:
        parse_address(after)
    found = await it.meeting.relations(caller.device.account, after=after, limit=PAGE)
    following = found[-1].peer if len(found) == PAGE else None
    return reply(ContactsPage(tuple(map(contact_of, found)), following))


async def act(request: Request) -> Response:
    """`POST /v1/contacts`."""
    it = services(request)
    caller = await signed(request)
    given = parse(caller.body, ContactAct)
    peer = parse_address(given.account)
    if peer == caller.device.account:
        raise Malformed("an account about itself")
    now_ms = it.clock.now_ms()
    return reply(
        contact_of(await it.meeting.act(caller.device.account, peer, given.act, now_ms=now_ms))
    )


async def reach(request: Request) -> Response:
    """`GET /v1/reach`."""
    caller = await signed(request)
    return reply(await services(request).meeting.reach_rules(caller.device.account))


async def set_reach(request: Request) -> Response:
    """`PUT /v1/reach`."""
    it = services(request)
    caller = await signed(request)
    rules = parse(caller.body, ReachRules)
    if not all(text.isprintable() for text in (*rules.professions, *rules.establishments)):
        raise Refused(Code.MALFORMED, "a code with a control character")
    await it.meeting.set_reach_rules(caller.device.account, rules, now_ms=it.clock.now_ms())
    return reply(rules)


def contact_of(relation: Relation) -> Contact:
    """As its owner is told."""
    stance: Stance = "none"
    since = 0
    if relation.blocked_ms is not None:
        stance, since = "blocked", relation.blocked_ms
    elif relation.declined_ms is not None:
        stance, since = "declined", relation.declined_ms
    elif relation.accepted_ms is not None or relation.written_ms is not None:
        stance = "contact"
    elif relation.wrote_ms is not None:
        stance = "request"
    return Contact(
        relation.peer,
        relation.name,
        stance,
        relation.person or "",
        relation.wrote_ms or 0,
        relation.written_ms or 0,
        since,
    )
