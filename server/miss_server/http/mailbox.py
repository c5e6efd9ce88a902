"""The HTTP twins of the socket: one signed request fetches, acknowledges or sends (rule B3)."""

import structlog
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api, limits
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode, Code, Refused
from miss_protocol.ids import DeviceId
from miss_server.http.bodies import parse, reply
from miss_server.http.services import services
from miss_server.http.signatures import signed
from miss_server.observe import short
from miss_server.relay.connection import STATUSES_IN_FLIGHT
from miss_server.relay.rows import frames_of
from miss_server.storage.messages import AckLine, Greeting, SessionRefused, Wanted

log = structlog.get_logger()


async def send(request: Request) -> Response:
    """`POST /v1/messages` with a `send` frame: `sent`, `refused` or `retry`."""
    it = services(request)
    caller = await signed(request)
    settled = await it.delivery.accepted(caller.device.id, None, parse(caller.body, f.Send))
    return reply(settled.reply)


async def fetch(request: Request) -> Response:
    """`POST /v1/mailbox`: acknowledge, then read what waits."""
    it = services(request)
    caller = await signed(request)
    call = parse(caller.body, api.MailboxCall)
    device, now_ms = caller.device.id, it.clock.now_ms()
    greeting = Greeting(
        device,
        call.after,
        call.digest,
        call.sn,
        call.epoch,
        call.roster,
        "http",
        live=False,
        settled=0 if call.settled is UNSET else call.settled,
    )
    start = await it.messages.begin_session(greeting, now_ms=now_ms)
    if isinstance(start, SessionRefused):
        raise Refused(Code.REVOKED if start.revoked else Code.SN_REUSED, "session")
    if start.epoch_changed:
        log.warning("the database is older than a device: new epoch", device=short(device))
        it.hub.end_all(CloseCode.TRY_LATER)
        it.doorbell.restored()
    if start.restored_since is None:
        await _acknowledge(request, call, start.resume_after, caller.device.id)
    wanted = Wanted(
        device, start.resume_after, limits.WINDOW_MAX // 4, start.ticks_after, STATUSES_IN_FLIGHT
    )
    [found] = await it.messages.fetch([wanted])
    reached = found.rows[-1].position if found.rows else start.resume_after
    return reply(
        api.MailboxPage(
            epoch=start.epoch,
            position=found.head,
            acked=start.acked,
            sn=start.sn,
            more=reached < found.head or len(found.statuses) == STATUSES_IN_FLIGHT,
            prekeys=start.prekeys,
            rows=tuple(frame for frame, _ in frames_of(found.rows)),
            statuses=tuple(found.statuses),
            restored=UNSET if start.restored_since is None else start.restored_since,
            after_digest=UNSET if start.digest is None else start.digest,
        )
    )


async def _acknowledge(
    request: Request, call: api.MailboxCall, resume_after: int, device: DeviceId
) -> None:
    it = services(request)
    if call.ack is UNSET and not call.nacks:
        return
    ack = None if call.ack is UNSET else call.ack
    # What is acknowledged must have been delivered: the digest just proved it up to `after`.
    if ack is not None and ack.position is not UNSET and ack.position > resume_after:
        raise Refused(Code.ACK_BEYOND)
    if ack is not None and len(ack.receipts) > limits.RECEIPTS_PER_ACK_MAX:
        raise Refused(Code.TOO_LARGE)
    if any(nack.position > resume_after for nack in call.nacks):
        raise Refused(Code.NACK_UNKNOWN)
    if ack is not None and ack.tick is not UNSET:
        # A tick that was never given would hide every status up to it.
        known = (await it.messages.heads([device])).get(device)
        if known is None or ack.tick > known.tick:
            raise Refused(Code.ACK_BEYOND)
    await it.delivery.acknowledge(device, None, ack, list(call.nacks), line=AckLine())
