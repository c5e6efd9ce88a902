"""Recovering an account whose devices are all lost, and objecting to it (rule A3)."""

import structlog
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api
from miss_protocol.account import RecoveryPreview, RecoveryState
from miss_server.http.bodies import parse, read_bytes, reply
from miss_server.http.enrolment import (
    enrolment_of,
    having_code,
    normal_code,
    preview_of,
    using_code,
)
from miss_server.http.services import Services, services
from miss_server.http.signatures import signed
from miss_server.observe import short
from miss_server.storage.accounts import Account
from miss_server.storage.recoveries import Recovery

log = structlog.get_logger()


async def preview(request: Request) -> Response:
    """`POST /v1/recoveries/preview`."""
    it = services(request)
    given = parse(await read_bytes(request), api.CodeGiven)
    shown = await preview_of(it, await _account_of(request, given.code))
    return reply(
        RecoveryPreview(
            shown.account, shown.name, shown.profession, shown.charter, _delay_ms(it) // 1000
        )
    )


async def begin(request: Request) -> Response:
    """`POST /v1/recoveries`; repeated, it tells how the recovery stands."""
    it, now_ms = services(request), services(request).clock.now_ms()
    given = parse(await read_bytes(request), api.Enrol)
    code = normal_code(given.code)
    async with using_code(
        request, code, lambda: it.recoveries.account_of_recovery_code(code, now_ms=now_ms)
    ):
        enrolment = enrolment_of(it, given)
        begun = await it.recoveries.begin_recovery(
            enrolment,
            # A node whose clock is behind would give the other devices less time to object.
            delay_ms=_delay_ms(it) + it.messages.tally.later_ms(now_ms) - now_ms,
            now_ms=now_ms,
        )
    log.warning("recovery", account=short(begun.account), state=begun.state)
    return reply(_shown(begun))


async def veto(request: Request) -> Response:
    """`POST /v1/recoveries/veto`: a device of the account objects."""
    it = services(request)
    caller = await signed(request)
    ended = await it.recoveries.veto_recovery(
        caller.device.account, caller.device.id, now_ms=it.clock.now_ms()
    )
    log.warning("recovery vetoed", account=short(caller.device.account))
    return reply(_shown(ended))


async def _account_of(request: Request, code: str) -> Account:
    """The account behind a recovery code, for whoever has the code."""
    it, normal = services(request), normal_code(code)
    return await having_code(
        request,
        normal,
        lambda: it.recoveries.account_of_recovery_code(normal, now_ms=it.clock.now_ms()),
    )


def _shown(one: Recovery) -> RecoveryState:
    return RecoveryState(one.account, one.device, one.state, one.begun_ms, one.due_ms)


def _delay_ms(it: Services) -> int:
    return round(it.settings.recovery_hours * 3600 * 1000)
