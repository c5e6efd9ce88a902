"""Every path of the server but the socket's, which is `websocket.PATH`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from miss_server.http import devices, directory, enrolment, mailbox, prekeys
from miss_server.http.bodies import reply


async def alive(request: Request) -> Response:
    """`GET /health/live`: the process answers."""
    return reply({"status": "live"})


def routes() -> list[BaseRoute]:
    """The routes, open ones first."""
    return [
        Route("/health/live", alive),
        Route("/v1/server", enrolment.server_info),
        Route("/v1/enrolment/preview", enrolment.preview, methods=["POST"]),
        Route("/v1/enrolment", enrolment.enrol, methods=["POST"]),
        Route("/v1/links/preview", devices.preview, methods=["POST"]),
        Route("/v1/links/status", devices.status, methods=["POST"]),
        Route("/v1/links/invitations", devices.invite, methods=["POST"]),
        Route("/v1/links", devices.ask, methods=["POST"]),
        Route("/v1/links", devices.pending, methods=["GET"]),
        Route("/v1/rosters", devices.change_roster, methods=["POST"]),
        Route("/v1/accounts/{address}/rosters", devices.rosters),
        Route("/v1/charter", devices.sign_charter, methods=["POST"]),
        Route("/v1/prekeys", prekeys.upload, methods=["POST"]),
        Route("/v1/prekeys", prekeys.count, methods=["GET"]),
        Route("/v1/prekeys/claim", prekeys.claim, methods=["POST"]),
        Route("/v1/directory", directory.search),
        Route("/v1/directory/{person}", directory.entry),
        Route("/v1/messages", mailbox.send, methods=["POST"]),
        Route("/v1/mailbox", mailbox.fetch, methods=["POST"]),
    ]
