"""A server that passes everything on to another, and says of accounts what it likes."""

import json
import socket
from asyncio import create_task
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Lie = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def lying_about_rosters(truth: str, lie: Lie) -> AsyncIterator[str]:
    """Listen on a port of its own, whose URL is yielded.

    Args:
        truth: the URL of an honest server.
        lie: changes an answer to `GET …/rosters`, or to a sign-in, in place.
    """

    async def answer(request: Request) -> Response:
        target = request.scope["raw_path"].decode()
        if request.scope["query_string"]:
            target += "?" + request.scope["query_string"].decode()
        async with httpx2.AsyncClient() as client:
            passed = await client.request(
                request.method,
                truth + target,
                content=await request.body(),
                headers=[(k, v) for k, v in request.headers.items() if k != "content-length"],
            )
        if passed.status_code in (200, 201):
            said = passed.json()
            lie(said)
            return Response(json.dumps(said), passed.status_code, media_type="application/json")
        kind = passed.headers.get("content-type", "")
        return Response(passed.content, passed.status_code, media_type=kind)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # not ours to take
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        running = create_task(server._serve([bound]))
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
