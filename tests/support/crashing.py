"""`miss-server` that ends hard at a chosen point, as a process does when the power fails.

    python -m tests.support.crashing --at "commit.before submit" --nth 1 -- serve --database FILE
    python -m tests.support.crashing --trace POINTS -- serve --database FILE

It runs the real command line in this process and wraps its interfaces: the SQLite driver, the
store's methods (they name what a commit is about), the batches on PostgreSQL, the witness, the doorbell, the filling of a
directory, and what passes between the transport and the application. The product knows nothing of it.

The points; `nth` counts each by itself:

    taken POST /v1/prekeys, taken send    a request, a frame came; nothing was done with it
    commit.before OP, commit.after OP     OP: the store's method, `fill`, `publish`, `tidy`, or `other`
    witness.before, witness.after         the file beside the database is written
    ring.before, ring.after               the doorbell rings (for at least one device)
    reply.before NAME, reply.after NAME   NAME: a request as above, or the frame of the answer
    delivery.before OP, delivery.after OP OP: deliver, gap, status

`--trace` writes each point that was passed as a line. `--ahead` turns the server's clock on. `--room`
is how many rows a mailbox takes.
`--fault` puts in a named fault of `tests.mutation`.
"""

import argparse
import asyncio
import functools
import inspect
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import uvicorn

from miss_protocol import limits
from miss_server import app as server_app
from miss_server import cli
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.http.socket import Socket
from miss_server.http.websocket import WebSocket
from miss_server.relay.clock import SystemClock
from miss_server.storage.accounts import Accounts
from miss_server.storage.messages import Acknowledgement, Greeting, Messages, Submission
from miss_server.storage.postgres.sessions import Ending
from miss_server.storage.postgres.writer import Writer as PostgresWriter
from miss_server.storage.sqlite.directory_filling import SqliteDirectoryFilling
from miss_server.storage.sqlite.store import SqliteStore
from miss_server.storage.sqlite.writer import Writer
from miss_server.storage.witness import Testimony, Witness
from tests.support.points import Points, end, name_of_call, ops_of

DELIVERIES = frozenset({"deliver", "gap", "status"})
DISK_S = 0.05
"""What a slow disk takes for a commit before the process ends in it: an answer that does not wait
for the disk has left by then."""
ROUNDS = 5
"""Turns of the event loop after which uvloop has written what it was given."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Operations:
    """What the store has been asked for and has not begun to commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._within = ""

    def asked(self, name: str) -> None:
        """An operation waits for the next transaction."""
        with self._lock:
            self._waiting.append(name)

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Every transaction of this block is the operation's."""
        self._within = name
        try:
            yield
        finally:
            self._within = ""

    def begun(self) -> list[str]:
        """A transaction began: what it is about."""
        with self._lock:
            about, self._waiting = self._waiting, []
        return about or [self._within or "other"]


def wrap_driver(points: Points, operations: Operations) -> None:
    """Every commit of a write transaction is a point, named by what ran when it began."""

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *arguments: Any) -> Self:
            connection = self.connection
            assert isinstance(connection, Connection)
            words = sql.upper().split(None, 2)
            if words[:1] == ["BEGIN"] and words[1:2] in (["IMMEDIATE"], ["EXCLUSIVE"]):
                super().execute(sql, *arguments)
                connection.about = operations.begun()
                return self
            if words[:1] in (["ROLLBACK"], ["COMMIT"]) and words[1:2] != ["TO"]:
                about, connection.about = connection.about, []
                if words[0] == "COMMIT":
                    return self._commit(sql, about)
            return super().execute(sql, *arguments)

        def _commit(self, sql: str, about: Sequence[str]) -> Self:
            if any([points.reached(f"commit.before {name}") for name in about]):  # noqa: C419  # all are noted
                time.sleep(DISK_S)
                end()
            super().execute(sql)
            for name in about:
                points.passed(f"commit.after {name}")
            return self

    class Connection(sqlite3.Connection):
        about: Sequence[str] = ()

        def cursor(self, factory: Any = None) -> Any:
            return super().cursor(Cursor)

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor()
            return cursor.execute(*arguments)

        def commit(self) -> None:
            if self.in_transaction:
                self.execute("COMMIT")

        def rollback(self) -> None:
            if self.in_transaction:
                self.execute("ROLLBACK")

    real = sqlite3.connect

    @functools.wraps(real)
    def connect(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **(options | {"factory": Connection}))

    for module in (sqlite3, sqlite3.dbapi2):
        module.connect = connect  # type: ignore[attr-defined]  # the driver's own name


def wrap_store(operations: Operations) -> None:
    """The methods of the storage interfaces name what a commit is about: each that hands something
    to the writer, which tells those that write from those that read."""
    for interface in (Messages, Accounts):
        for name in vars(interface):
            real = getattr(SqliteStore, name, None)
            if inspect.isfunction(real) and not name.startswith("_"):
                setattr(SqliteStore, name, _named(name, real))
    hand_in = Writer._hand_in

    def handing_in(self: Writer, *arguments: Any) -> asyncio.Future[Any]:
        operations.asked(_method.get())
        return hand_in(self, *arguments)

    Writer._hand_in = handing_in  # type: ignore[assignment, method-assign]  # what this module is for
    for name in ("amend", "publish"):
        filling = getattr(SqliteDirectoryFilling, name)

        def work(*arguments: Any, _name: str = name, _real: Callable[..., Any] = filling) -> Any:
            with operations.within(_name):
                return _real(*arguments)

        setattr(SqliteDirectoryFilling, name, work)


_method = ContextVar("_method", default="other")
"""The store's method that runs."""


def _named(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    async def wait(*arguments: Any, **options: Any) -> Any:
        token = _method.set(name)
        try:
            return await real(*arguments, **options)
        finally:
            _method.reset(token)

    @functools.wraps(real)
    def call(*arguments: Any, **options: Any) -> Any:
        token = _method.set(name)
        try:
            return real(*arguments, **options)
        finally:
            _method.reset(token)

    return wait if inspect.iscoroutinefunction(real) else call


def wrap_batches(points: Points) -> None:
    """Every commit of a batch on PostgreSQL is a point, named by the jobs of the batch."""
    commit, end_of_batch = PostgresWriter._commit, PostgresWriter._end

    async def committing(self: PostgresWriter, jobs: Any, also: Any) -> None:
        about.set(sorted({_JOBS[type(job.work)] for job in jobs}))
        await commit(self, jobs, also)

    async def ending(self: PostgresWriter, db: Any) -> None:
        names = about.get()
        if any([points.reached(f"commit.before {name}") for name in names]):  # noqa: C419  # all are noted
            await asyncio.sleep(DISK_S)
            end()
        await end_of_batch(self, db)
        for name in names:
            points.passed(f"commit.after {name}")

    about = ContextVar[Sequence[str]]("about")
    PostgresWriter._commit = committing  # type: ignore[method-assign]  # what this module is for
    PostgresWriter._end = ending  # type: ignore[method-assign]  # what this module is for


_JOBS = {
    Submission: "submit",
    Acknowledgement: "acknowledge",
    Greeting: "begin_session",
    Ending: "end_session",
}


def wrap_doorbell(points: Points) -> None:
    """Each ring for somebody is a point."""
    for doorbell in (MemoryDoorbell, NodeDoorbell):

        def ring(self: Any, devices: Any, _real: Callable[..., None] = doorbell.ring) -> None:
            if devices:
                points.passed("ring.before")
            _real(self, devices)
            if devices:
                points.passed("ring.after")

        doorbell.ring = ring  # type: ignore[method-assign]  # what this module is for


def wrap_witness(points: Points) -> None:
    """Each writing of the witness is a point."""
    real = Witness.write

    def write(self: Witness, now: Testimony) -> None:
        points.passed("witness.before")
        real(self, now)
        points.passed("witness.after")

    Witness.write = write  # type: ignore[method-assign]  # what this module is for


def wrap_application(points: Points) -> None:
    """What uvicorn hands in and is handed: requests and answers."""
    real = uvicorn.Config.load

    def load(self: uvicorn.Config) -> None:
        real(self)
        self.loaded_app = _Application(self.loaded_app, points)

    uvicorn.Config.load = load  # type: ignore[method-assign]  # what this module is for


class _Application:
    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        name = name_of_call(scope["method"], scope["path"])
        self._points.passed(f"taken {name}")
        await self._inner(scope, receive, self._answering(send, name))

    def _answering(self, send: Send, name: str) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._points.passed(f"reply.before {name}")
            await send(message)
            ends = message["type"] == "http.response.body" and not message.get("more_body")
            if ends and self._points.reached(f"reply.after {name}"):
                await _end_once_written()

        return answer


def wrap_socket(points: Points) -> None:
    """What the WebSocket hands to its socket and is handed: frames, answers, deliveries."""
    take, write = Socket.take, WebSocket.write

    def taking(self: Socket, message: bytes, *, text: bool) -> None:
        for op in ops_of(message.decode() if text else message):
            points.passed(f"taken {op}")
        take(self, message, text=text)

    def writing(self: WebSocket, message: bytes) -> None:
        ops = ops_of(message.decode() if message.startswith(b"[") else message)
        kinds = [("delivery" if op in DELIVERIES else "reply", op) for op in ops]
        for kind, name in kinds:
            points.passed(f"{kind}.before {name}")
        write(self, message)
        reached = [points.reached(f"{kind}.after {name}") for kind, name in kinds]
        if any(reached):
            ending.append(asyncio.get_running_loop().create_task(_end_once_written()))

    ending: list[asyncio.Task[None]] = []
    Socket.take = taking  # type: ignore[method-assign]  # what this module is for
    WebSocket.write = writing  # type: ignore[method-assign]  # what this module is for


async def _end_once_written() -> None:
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    end()


def turn_clock(seconds: float) -> None:
    """The server's clock goes ahead."""

    class Ahead(SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + round(seconds * 1000)

    server_app.SystemClock = Ahead  # type: ignore[attr-defined]  # the name that `serve` uses


def make_room(rows: int) -> None:
    """A mailbox takes so many rows: filling one of the real size takes minutes."""
    limits.MAILBOX_ROWS_MAX = rows


def main() -> None:
    """Run `miss-server` with what follows `--`."""
    words = sys.argv[1:]
    options = argparse.ArgumentParser(prog="crashing")
    options.add_argument("--at", default="")
    options.add_argument("--nth", type=int, default=1)
    options.add_argument("--trace", type=Path)
    options.add_argument("--ahead", type=float, default=0.0)
    options.add_argument("--room", type=int, default=0)
    options.add_argument("--fault", default="")
    place = words.index("--")
    chosen = options.parse_args(words[:place])
    points, operations = Points(chosen.at, chosen.nth, chosen.trace), Operations()
    wrap_driver(points, operations)
    wrap_store(operations)
    wrap_batches(points)
    wrap_doorbell(points)
    wrap_witness(points)
    wrap_application(points)
    wrap_socket(points)
    if chosen.ahead:
        turn_clock(chosen.ahead)
    if chosen.room:
        make_room(chosen.room)
    sys.argv = ["miss-server", *words[place + 1 :]]
    with ExitStack() as stack:
        if chosen.fault:
            from tests.mutation.played_faults import put_in

            put_in(chosen.fault, stack)
        cli.main()


if __name__ == "__main__":
    main()
