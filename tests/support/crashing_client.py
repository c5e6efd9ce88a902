"""The reference client in a process that ends hard at a chosen point.

    python -m tests.support.crashing_client --at save.before --nth 3 -- receive STORE COUNT
    python -m tests.support.crashing_client --trace POINTS -- send STORE ADDRESS TEXT NOTE

`receive` ends when COUNT messages are saved and nothing is owed for them; `send` writes the
message's id into NOTE once `Client.send` returned, and ends when it was delivered. The points:

    save.before, save.after             a transaction of the store that changed something commits
    write.before OP, write.after OP     a frame is written to the socket
    came OP                             a frame was read; nothing was done with it
    call.before NAME, call.after NAME   an HTTP call, as `POST /v1/prekeys/claim`
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection

from miss_client import Client, Store
from miss_client.transport import Timing
from tests.support.points import Points, name_of_call, ops_of

QUICK = Timing(backoff_min=0.05, backoff_max=0.2)


def wrap_store(points: Points) -> None:
    """Each outermost transaction that changes something is a point."""
    real, put, delete = Store.transaction, Store.put, Store.delete
    open_: list[int] = []
    """One counter of changes while a transaction is open, else none."""

    @contextmanager
    def transaction(self: Store) -> Iterator[None]:
        if open_:
            with real(self):
                yield
            return
        open_.append(0)
        changes = 0
        try:
            with real(self):
                yield
                changes = open_[0]
                if changes:
                    points.passed("save.before")
        finally:
            open_.pop()
        if changes:
            points.passed("save.after")

    def note_put(self: Store, shelf: str, name: bytes, data: bytes) -> None:
        open_[0] += 1
        put(self, shelf, name, data)

    def note_delete(self: Store, shelf: str, name: bytes) -> None:
        open_[0] += 1
        delete(self, shelf, name)

    Store.transaction = transaction  # type: ignore[method-assign]  # what this module is for
    Store.put = note_put  # type: ignore[method-assign]
    Store.delete = note_delete  # type: ignore[method-assign]


def wrap_socket(points: Points) -> None:
    """Frames that are written and read."""
    send, recv = ClientConnection.send, ClientConnection.recv

    async def write(self: ClientConnection, message: Any, *rest: Any, **options: Any) -> None:
        for op in ops_of(message):
            points.passed(f"write.before {op}")
        await send(self, message, *rest, **options)
        for op in ops_of(message):
            points.passed(f"write.after {op}")

    async def read(self: ClientConnection, *rest: Any, **options: Any) -> Any:
        message = await recv(self, *rest, **options)
        for op in ops_of(message):
            points.passed(f"came {op}")
        return message

    ClientConnection.send = write  # type: ignore[method-assign, assignment]
    ClientConnection.recv = read  # type: ignore[method-assign, assignment]


def wrap_calls(points: Points) -> None:
    """HTTP calls."""
    real = httpx2.AsyncClient.send

    async def send(
        self: httpx2.AsyncClient, request: httpx2.Request, *rest: Any, **options: Any
    ) -> httpx2.Response:
        name = name_of_call(request.method, request.url.path)
        points.passed(f"call.before {name}")
        answer = await real(self, request, *rest, **options)
        points.passed(f"call.after {name}")
        return answer

    httpx2.AsyncClient.send = send  # type: ignore[method-assign]


async def receive(client: Client, count: int) -> None:
    """Read what waits, and answer it."""
    news = asyncio.Event()
    for part, name in ((client.inbox, "paid"), (client.outbox, "settle")):
        setattr(part, name, _told(getattr(part, name), news))
    async with client:
        await client.drained()
        while (
            len(client.messages()) < count
            or client.inbox.owed()
            or client.vault.drafts.all()
            or client.outbox.unsettled()
        ):
            news.clear()
            await news.wait()


def _told(real: Callable[..., None], news: asyncio.Event) -> Callable[..., None]:
    # No event of the client's tells that the server has a receipt, or a session's answer.
    def call(*arguments: Any) -> None:
        real(*arguments)
        news.set()

    return call


async def send(client: Client, address: str, text: str, note: Path) -> None:
    """Write one message and wait for it."""
    async with client:
        id = await client.send([address], text)  # type: ignore[list-item]  # an address as text
        note.write_bytes(id)
        await client.wait_for_state(id, "delivered")


def main() -> None:
    """Run one of the programs."""
    words = sys.argv[1:]
    options = argparse.ArgumentParser(prog="crashing_client")
    options.add_argument("--at", default="")
    options.add_argument("--nth", type=int, default=1)
    options.add_argument("--trace", type=Path)
    options.add_argument("--fault", default="")
    options.add_argument("program", choices=("receive", "send"))
    options.add_argument("store", type=Path)
    options.add_argument("rest", nargs="*")
    chosen = options.parse_args([word for word in words if word != "--"])
    points = Points(chosen.at, chosen.nth, chosen.trace)
    wrap_store(points)
    wrap_socket(points)
    wrap_calls(points)
    with ExitStack() as stack:
        if chosen.fault:
            from tests.mutation.played_faults import put_in

            put_in(chosen.fault, stack)
        client = Client.open(Store.open(chosen.store), timing=QUICK)
        if chosen.program == "receive":
            asyncio.run(receive(client, int(chosen.rest[0])))
        else:
            address, text, note = chosen.rest
            asyncio.run(send(client, address, text, Path(note)))
