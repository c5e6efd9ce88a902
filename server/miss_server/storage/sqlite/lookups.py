"""Looks devices up for logins: those that come while a reader is busy go to the next one together.

The way to a reader's thread and back costs ten times what the look itself does, and in the event
loop's own thread the flood of unknown ids that a stranger can send would wait for the disk.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.messages import DeviceRecord

AT_ONCE = 64
"""Devices of one read: a millisecond, if their pages are in memory."""

_FIND = (
    "SELECT d.id, d.account, d.signing_key, d.revoked_ms, a.suspended, a.roster_version"
    " FROM devices d JOIN accounts a ON a.address = d.account WHERE d.id = ?"
)

Found = list[DeviceRecord | None]
Read = Callable[[Callable[[sqlite3.Connection], Found]], Awaitable[Found]]


class Lookups:
    """Looks with `read`, one read at a time. Each sees what was committed before it was asked for."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: list[tuple[DeviceId, asyncio.Future[DeviceRecord | None]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def find(self, device: DeviceId) -> DeviceRecord | None:
        """Look a device up; revoked ones are found too."""
        found: asyncio.Future[DeviceRecord | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((device, found))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await found

    async def _look(self) -> None:
        while self._waiting:
            asked = self._waiting[:AT_ONCE]
            del self._waiting[:AT_ONCE]
            await self._answer(asked)
        self._looking = None

    async def _answer(
        self, asked: Sequence[tuple[DeviceId, asyncio.Future[DeviceRecord | None]]]
    ) -> None:
        try:
            records = await self._read(lambda db: [_find(db, device) for device, _ in asked])
        except Exception as error:  # noqa: BLE001  # handed to all who asked
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), record in zip(asked, records, strict=True):
            if not future.done():  # whoever asked may have gone
                future.set_result(record)


def _find(db: sqlite3.Connection, device: DeviceId) -> DeviceRecord | None:
    row = db.execute(_FIND, (device,)).fetchone()
    if row is None:
        return None
    return DeviceRecord(
        DeviceId(row[0]), AccountAddress(row[1]), row[2], row[3] is not None, bool(row[4]), row[5]
    )
