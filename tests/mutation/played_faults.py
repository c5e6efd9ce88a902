"""Named faults that no simulated world can show: they need a real process, or the real client.

Each names the play of `tests.crash` that must fail when it is there. The play's processes put the
fault in by its name; the product knows nothing of them.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from miss_client.outbox import Outbox
from miss_client.transport import _Once
from miss_protocol import frames as f
from miss_protocol.ids import DeviceId
from miss_server.doorbell.memory import MemoryDoorbell
from miss_server.storage.messages import Fetched, Wanted
from miss_server.storage.sqlite.store import SqliteStore
from tests.mutation.faults import ALL
from tests.mutation.played import PlayedFault


def wake_up_only(stack: ExitStack) -> None:
    """The server looks into a mailbox only after it was rung for: no fetch at welcome, no sweep."""
    ring, fetch = MemoryDoorbell.ring, SqliteStore.fetch
    rung: set[DeviceId] = set()

    def note(self: MemoryDoorbell, devices: Collection[DeviceId]) -> None:
        rung.update(devices)
        ring(self, devices)

    async def only_rung(self: SqliteStore, wanted: Sequence[Wanted]) -> list[Fetched]:
        found = await fetch(self, wanted)
        return [
            one if ask.device in rung else Fetched(head=ask.after)
            for ask, one in zip(wanted, found, strict=True)
        ]

    stack.enter_context(patch.object(MemoryDoorbell, "ring", note))
    stack.enter_context(patch.object(SqliteStore, "fetch", only_rung))


def acks_before_it_saves(stack: ExitStack) -> None:
    """The real client acknowledges a row, then saves it."""
    serve, save = _Once._serve, _Once._save

    async def with_socket(self: Any, socket: Any) -> None:
        self.socket = socket
        await serve(self, socket)

    async def early(self: Any, rows: Any) -> None:
        if rows:
            self.session.ack(f.Ack(position=self.session.position))
            await self._flush(self.socket)
        await save(self, rows)

    stack.enter_context(patch.object(_Once, "_serve", with_socket))
    stack.enter_context(patch.object(_Once, "_save", early))


def believes_sent_for_ever(stack: ExitStack) -> None:
    """The real client forgets a send when the server says `sent`, not when it is delivered."""
    real = Outbox.settle

    def settle(self: Outbox, reply: f.Sent | f.Refused) -> None:
        real(self, reply)
        with self._vault.store.transaction():
            for entry in self._vault.entries():
                if entry.settled:
                    self._vault.drop_entry(entry)

    stack.enter_context(patch.object(Outbox, "settle", settle))


PLAYED = (
    PlayedFault(
        wake_up_only,
        "a crash: http-fetch-taken POST /v1/mailbox-1",
        "not at each device exactly once",
    ),
    PlayedFault(acks_before_it_saves, "a client's end: receive-save.before-3", "rolled_back"),
    PlayedFault(
        believes_sent_for_ever,
        "a restored server gets again what it called sent",
        "there is nothing to submit again",
    ),
)
"""Each with its killer, a name of `tests.crash.killers`, and words of what that says."""


def put_in(name: str, stack: ExitStack) -> None:
    """Make the mistake of that name until the stack ends; those of `faults` that are the server's
    can be tried in a play, too."""
    [fault] = [one for one in (*PLAYED, *ALL) if one.name == name]
    fault.put_in(stack)
