"""What happens around every HTTP call: it gets an id for the log, and is counted.

The id is the one that a trusted proxy gave (`x-request-id`), or a new one; it goes back with the
answer, so that who reports a fault can name the lines of it.
"""

import re
import secrets
from collections.abc import Iterable

import structlog
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from miss_server.http.connection import BY_PROXY
from miss_server.relay.clock import Clock
from miss_server.tallies import DoorTally

HEADER = b"x-request-id"
FAULT = 500
_FORM = re.compile(rb"[A-Za-z0-9._=+/-]{8,64}")


NO_ROUTE = "none"
"""What a call is counted as that no route takes."""


def never_failed(routes: Iterable[BaseRoute]) -> dict[tuple[str, int], int]:
    """Count every call's faults from none: a series that begins at one has never risen, for who
    watches it."""
    names = {route.endpoint.__name__ for route in routes if isinstance(route, Route)}
    return dict.fromkeys(((name, FAULT) for name in sorted({*names, NO_ROUTE})), 0)


class Requests:
    """Plain ASGI around the application; WebSockets never come here (`websocket`)."""

    def __init__(self, app: ASGIApp, tally: DoorTally, clock: Clock) -> None:
        self._app = app
        self._tally = tally
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = self._clock.steady()
        name = self._id_of(scope)
        status = FAULT

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, name)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request=name.decode()):
            try:
                await self._app(scope, receive, answer)
            finally:
                called = getattr(scope.get("endpoint"), "__name__", NO_ROUTE)
                self._tally.calls[called, status] += 1
                self._tally.call_seconds.note(self._clock.steady() - begun)

    @staticmethod
    def _id_of(scope: Scope) -> bytes:
        if scope[BY_PROXY]:
            for name, value in scope["headers"]:
                if name == HEADER and _FORM.fullmatch(value):
                    given: bytes = value
                    return given
        return secrets.token_hex(8).encode()
