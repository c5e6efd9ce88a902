"""Messages that their readers show to the operator: taken if they are what they seem (rule E4)."""

import secrets

import structlog
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.errors import Untrusted
from miss_protocol.ids import DeviceId, parse_address
from miss_protocol.reports import Report, ReportMade, ReportsPage, check_signer, read
from miss_server.http import cursors
from miss_server.http.bodies import parse, reply
from miss_server.http.services import services
from miss_server.http.signatures import signed
from miss_server.observe import short
from miss_server.storage.reports import Filed, Filing

ID_BYTES = 8

log = structlog.get_logger()


async def file(request: Request) -> Response:
    """`POST /v1/reports`."""
    it = services(request)
    caller = await signed(request)
    reporter = caller.device.account
    await it.throttle.report(reporter)
    made, now_ms = parse(caller.body, ReportMade), it.clock.now_ms()
    message = read(made, reporter, now_ms=now_ms)
    signer = await it.reports.signer(parse_address(made.account), DeviceId(made.device))
    if signer is None:
        raise Untrusted("no roster lists the device")
    check_signer(made, message, signer.certificate, revoked_ms=signer.revoked_ms)
    filing = Filing(
        id=secrets.token_hex(ID_BYTES),
        reporter=reporter,
        signer=signer,
        message=message.id,
        signed=made.message,
        reason=made.reason,
        note=made.note,
        received_ms=made.received,
    )
    filed = await it.reports.file_report(filing, now_ms=now_ms)
    log.info("reported", report=filed.id, account=short(reporter))
    return reply(_shown(filed))


async def made(request: Request) -> Response:
    """`GET /v1/reports?cursor=CURSOR`."""
    it = services(request)
    caller = await signed(request)
    found = await it.reports.reports_by(
        caller.device.account,
        before=cursors.read(request.query_params.get("cursor")),
        limit=limits.PAGE_MAX + 1,
    )
    shown = found[: limits.PAGE_MAX]
    following = None
    if len(found) > len(shown):
        following = cursors.write(shown[-1].filed_ms, shown[-1].id)
    return reply(ReportsPage(tuple(_shown(one) for one in shown), following))


def _shown(filed: Filed) -> Report:
    """As its reporter sees it: without the outcome, which is somebody else's."""
    return Report(
        message=filed.message,
        account=filed.account,
        device=filed.device,
        reason=filed.reason,
        filed=filed.filed_ms,
        state="open" if filed.closed_ms is None else "closed",
        closed=filed.closed_ms,
    )
