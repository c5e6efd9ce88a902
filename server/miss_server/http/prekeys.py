"""Prekeys: uploading one's own, claiming other devices'."""

from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import api
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import prekeys
from miss_protocol.ids import DeviceId
from miss_server.http.bodies import parse, reply
from miss_server.http.services import services
from miss_server.http.signatures import certificate_of, signed


async def upload(request: Request) -> Response:
    """`POST /v1/prekeys`."""
    it = services(request)
    caller = await signed(request)
    given = parse(caller.body, api.PrekeysUploaded)
    keys = [prekeys.decode(blob) for blob in given.prekeys]
    certificate = await certificate_of(it, caller.device)
    for key in keys:
        key.verify(certificate)
    left, highest = await it.accounts.add_prekeys(
        caller.device.id, keys, epoch=given.epoch, now_ms=it.clock.now_ms()
    )
    return reply(api.PrekeyCount(left, highest))


async def count(request: Request) -> Response:
    """`GET /v1/prekeys`."""
    caller = await signed(request)
    return reply(api.PrekeyCount(*await services(request).accounts.count_prekeys(caller.device.id)))


async def claim(request: Request) -> Response:
    """`POST /v1/prekeys/claim`."""
    it = services(request)
    caller = await signed(request)
    wanted = parse(caller.body, api.PrekeysClaimed).devices
    allowed = [
        DeviceId(device)
        for device in dict.fromkeys(wanted)
        if await it.throttle.may_claim(caller.device.account, device)
    ]
    if wanted and not allowed:
        raise Refused(Code.RATE_LIMITED, "prekey claims", retry_after=60.0)
    claimed = await it.accounts.claim_prekeys(allowed, now_ms=it.clock.now_ms())
    return reply(api.Prekeys(tuple(api.ClaimedPrekey(d, blob) for d, blob in claimed.items())))
