"""`miss chat`: a small conversation in the terminal."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from typing import Annotated, TextIO

import typer

from miss_client.cli.common import StoreOption, clean, out, resolve, with_client
from miss_client.cli.listen import line_of, told
from miss_client.cli.send import warn_recovering
from miss_client.client import Client, conversation_of
from miss_client.events import Connection, ConnectionChanged, Event, MessageReceived
from miss_client.records import Message
from miss_client.words import tr
from miss_protocol.ids import AccountAddress, MessageId

HELP = tr(
    "Converse with one person: a line is a message; ✓ sent, ✓✓ delivered, read. End with Ctrl-D.\n\n"
    "Example: miss chat lefevere",
    "Converser avec une personne : une ligne, un message ; ✓ envoyé, ✓✓ remis, lu. Fin : Ctrl-D.\n\n"
    "Exemple : miss chat lefevere",
)

SHOWN = 20
LOOK_AGAIN = 300.0
"""Seconds after which the server is asked again, before a line leaves, whether the other one is recovering."""


def chat(
    who: Annotated[
        str, typer.Argument(help=tr("An address, or directory words.", "Une adresse, ou des mots."))
    ],
    store: StoreOption = None,
) -> None:
    """Converse."""

    async def work(client: Client) -> None:
        address = await resolve(client, who)
        conversation = conversation_of([client.account, address])
        await client.contacts.learn(address)
        await warn_recovering(client, address)
        out.print(f"— {clean(client.contacts.name(address))} <{address}>")
        known = client.messages(conversation=conversation)
        for message in [one for one in known if between(client, address, one)][-SHOWN:]:
            out.print(line_of(client, message))
        events = client.events()
        lines = stdin_lines(sys.stdin)
        async with client:
            typing = asyncio.create_task(_type(client, address, lines))
            showing = asyncio.create_task(_follow(client, address, conversation, events))
            try:
                await asyncio.wait({typing, showing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (typing, showing):
                    task.cancel()
                await asyncio.gather(typing, showing, return_exceptions=True)
            for task in (typing, showing):
                if not task.cancelled():
                    task.result()

    with_client(store, work)


async def _type(
    client: Client, address: AccountAddress, lines: "asyncio.Queue[str | None]"
) -> None:
    last: MessageId | None = None
    loop = asyncio.get_running_loop()
    looked = loop.time()
    while (line := await lines.get()) is not None:
        if loop.time() - looked >= LOOK_AGAIN:
            await warn_recovering(client, address)
            looked = loop.time()
        if line.strip():
            last = await client.send([address], line.strip())
    if last is not None:
        # The end of the input is no reason to leave the last line behind.
        try:
            async with asyncio.timeout(10):
                await client.wait_for_state(last, "sent")
        except TimeoutError:
            out.print(tr("(kept; it leaves later)", "(gardé ; il partira plus tard)"))


async def _follow(
    client: Client, address: AccountAddress, conversation: bytes, events: AsyncIterator[Event]
) -> None:
    async for event in events:
        if isinstance(event, MessageReceived):
            message = client.saved(event.id)
            if event.conversation == conversation and between(client, address, message):
                out.print(line_of(client, message))
                if not event.own:
                    await client.read(event.id)
            continue
        line = told(client, event)
        if line:
            out.print(line)
        if isinstance(event, ConnectionChanged) and event.state is Connection.STOPPED:
            await client.connected()


def between(client: Client, address: AccountAddress, message: Message) -> bool:
    """Whether a message is really between these two: a conversation's id is a hash of addresses
    that anybody can compute and put on a message of theirs."""
    return {message.account, *message.to} == {client.account, address}


def stdin_lines(source: TextIO) -> "asyncio.Queue[str | None]":
    """Lines of a blocking stream, then None. Its thread is left behind at the end: a read from a
    terminal cannot be taken back."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        try:
            for line in source:
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)
        except RuntimeError:
            return  # the loop is over: nobody reads any more

    threading.Thread(target=read, daemon=True, name="stdin").start()
    return queue
