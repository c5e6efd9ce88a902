"""The directory over HTTP."""

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.directory import DirectorySources
from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.filters import read_filters
from miss_server.http.attestations import shown_with_attesters, with_attesters
from miss_server.http.bodies import reply
from miss_server.http.services import services
from miss_server.http.signatures import signed
from miss_server.importers.nomenclatures import editions
from miss_server.storage.directory import oldest

PERSON_MAX = 96
"""Characters of an identifier (spec 05 §1.1)."""


async def search(request: Request) -> Response:
    """`GET /v1/directory?q=WORDS&limit=N&cursor=CURSOR` and what narrows it."""
    it = services(request)
    caller = await signed(request)
    await it.throttle.search(caller.device.account, caller.device.id)
    try:
        limit = int(request.query_params.get("limit", limits.PAGE_DEFAULT))
    except ValueError:
        raise Malformed("limit is not a number") from None
    page = await it.directory.search(
        request.query_params.get("q", ""),
        limit=limit,
        cursor=request.query_params.get("cursor"),
        filters=read_filters(request.query_params.multi_items()),
        account=caller.device.account,
        now_ms=it.clock.now_ms(),
    )
    return reply(replace(page, entries=await shown_with_attesters(it, page.entries)))


async def entry(request: Request) -> Response:
    """`GET /v1/directory/{person}`."""
    it = services(request)
    caller = await signed(request)
    # As a search: numbers of the register can be counted through.
    await it.throttle.look_up(caller.device.account, caller.device.id)
    person = request.path_params["person"]
    found = None
    if len(person) <= PERSON_MAX:
        found = await it.directory.entry(
            person, account=caller.device.account, now_ms=it.clock.now_ms()
        )
    if found is None:
        raise Refused(Code.NOT_FOUND)
    return reply(await with_attesters(it, found))


async def sources(request: Request) -> Response:
    """`GET /v1/directory/sources`."""
    it = services(request)
    await signed(request)
    found = await it.directory.sources()
    return reply(DirectorySources(oldest(found), found, editions()))
