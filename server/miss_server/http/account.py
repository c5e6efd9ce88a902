"""What an account is told about itself."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.account import AccountNotice, AccountNotices, AccountStanding
from miss_server.http.bodies import reply
from miss_server.http.services import services
from miss_server.http.signatures import signed


async def notices(request: Request) -> Response:
    """`GET /v1/account/notices`."""
    it = services(request)
    caller = await signed(request)
    leaving = await it.departures.departures(caller.device.account)
    found = [AccountNotice(one.cause.value, one.since_ms, one.due_ms) for one in leaving]
    recovery = await it.recoveries.recovery_of(caller.device.account)
    if recovery is not None:
        found.insert(0, AccountNotice("recovery", recovery.begun_ms, recovery.due_ms))
    decided = await it.standings.standing(caller.device.account)
    standing = (
        UNSET
        if decided is None
        else AccountStanding(decided.state.value, decided.reason, decided.since_ms)
    )
    ended = await it.organisations.ended_devices(caller.device.account)
    return reply(AccountNotices(caller.device.account, tuple(found), standing, tuple(ended)))
