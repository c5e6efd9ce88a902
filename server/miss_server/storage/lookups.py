"""Looks devices up for logins: those that come while a look is under way share the next one.

The way to a reader's thread, or to PostgreSQL, and back costs ten times what the look itself does. When
everybody comes back at once that is a good part of a login.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from miss_protocol.ids import DeviceId
from miss_server.storage.messages import DeviceRecord

AT_ONCE = 64
"""Devices of one look: a millisecond, if their pages are in memory."""

Look = Callable[[Sequence[DeviceId]], Awaitable[Sequence[DeviceRecord | None]]]
"""Reads the record of each, revoked ones too, None for those that are not there."""


class Lookups:
    """Looks with `look`, one at a time. Each sees what was committed before it was asked for."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._waiting: list[tuple[DeviceId, asyncio.Future[DeviceRecord | None]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def find(self, device: DeviceId) -> DeviceRecord | None:
        """Look a device up; revoked ones are found too."""
        found: asyncio.Future[DeviceRecord | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((device, found))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_all())
        return await found

    async def _look_all(self) -> None:
        while self._waiting:
            asked = self._waiting[:AT_ONCE]
            del self._waiting[:AT_ONCE]
            # Whoever asked may have gone.
            if asked := [(device, found) for device, found in asked if not found.done()]:
                await self._answer(asked)
        self._looking = None

    async def _answer(
        self, asked: Sequence[tuple[DeviceId, asyncio.Future[DeviceRecord | None]]]
    ) -> None:
        try:
            records = await self._look([device for device, _ in asked])
        except Exception as error:  # noqa: BLE001  # handed to all who asked
            # Also to those who wait: where one look fails after seconds, each of many would.
            failed, self._waiting = [*asked, *self._waiting], []
            for _, future in failed:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), record in zip(asked, records, strict=True):
            if not future.done():  # whoever asked may have gone
                future.set_result(record)
