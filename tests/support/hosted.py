"""The server's application in the test's own process, on a real socket and a real file.

For tests that turn the clock on or look at what a connection holds; everything else starts the real
process (`tests.support.server`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from miss_server.app import build
from miss_server.config import Settings
from miss_server.http.services import Services
from miss_server.listening import listen, server_of
from miss_server.relay.clock import SystemClock
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.storage.sqlite.store import SqliteStore, prepare
from miss_server.stores import Opened
from tests.support.meeting import LIFTED
from tests.support.server import DOMAIN


@dataclass
class TurnedClock(SystemClock):
    """The machine's clocks, turned on at will."""

    ahead: float = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.ahead * 1000)

    def steady(self) -> float:
        return super().steady() + self.ahead


@dataclass
class Hosted:
    """A running server and its inside."""

    database: Path
    store: SqliteStore
    services: Services
    clock: TurnedClock
    settings: Settings
    url: str
    domain: str = DOMAIN

    @property
    def socket_url(self) -> str:
        """The URL of the WebSocket."""
        return "ws" + self.url.removeprefix("http") + "/v1/ws"


@asynccontextmanager
async def hosted(
    folder: Path, store_type: type[SqliteStore] = SqliteStore, **settings: object
) -> AsyncIterator[Hosted]:
    """Run the server until the block ends."""
    chosen = Settings.model_validate(
        {"database": folder / "miss.sqlite", "domain": DOMAIN, "port": 0} | settings
    )
    clock = TurnedClock()
    prepare(chosen.file, domain=chosen.domain, now_ms=clock.now_ms())
    store = store_type(chosen.file, LIFTED)
    store.begin_life(now_ms=clock.now_ms())
    store.open()
    app = build(chosen, Opened(store, SqliteOverview(chosen.file), folder), clock)
    listening = listen(chosen)
    host, port = listening.getsockname()
    server = server_of(app, chosen)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        url = f"{'https' if chosen.tls_cert else 'http'}://{host}:{port}"
        yield Hosted(chosen.file, store, app.state.services, clock, chosen, url)
    finally:
        server.should_exit = True
        await serving
