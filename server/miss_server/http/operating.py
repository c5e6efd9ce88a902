"""What load balancers and monitoring ask: `/health/live`, `/health/ready`, `/metrics`."""

from datetime import UTC, datetime
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from miss_server.http.bodies import reply
from miss_server.http.connection import BY_PROXY, FORWARDED
from miss_server.http.services import services
from miss_server.operating.health import Health, Part
from miss_server.operating.metrics import Metrics


async def live(request: Request) -> Response:
    """`GET /health/live`: the process answers. A failing disk is no reason to start it anew."""
    return reply({"status": "live"})


async def ready(request: Request) -> Response:
    """`GET /health/ready`: 200 while messages can be made durable, else 503; each part in words."""
    health: Health = request.app.state.health
    report = await health.look()
    document = {"status": report.status, "parts": [_told(part) for part in report.parts]}
    answer = reply(document, 200 if report.ready else 503)
    answer.headers["cache-control"] = "no-store"
    return answer


def _told(part: Part) -> dict[str, object]:
    since = datetime.fromtimestamp(part.since_ms / 1000, UTC)
    return {
        "part": part.name,
        "state": part.condition.state.value,
        "vital": part.vital,
        "since": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "text": part.condition.text._asdict(),
    }


async def metrics(request: Request) -> Response:
    """`GET /metrics`, for who may read them; to anybody else there is no such path."""
    if not _may_read(request):
        raise HTTPException(404)
    ours: Metrics = request.app.state.metrics
    text, media_type = await ours.render(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type, "cache-control": "no-store"})


def _may_read(request: Request) -> bool:
    it = services(request)
    ports = it.settings.metrics_ports
    if ports and request.scope["server"][1] not in ports:
        return False
    if request.scope[FORWARDED] and not request.scope[BY_PROXY]:
        # The address that we see is that of a proxy which we do not know, perhaps of this machine.
        return False
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in it.settings.metrics_from)
