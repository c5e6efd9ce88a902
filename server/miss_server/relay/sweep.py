"""Compares live connections with the store: what no ring told is found here.

The same look serves for hints of other nodes, which are never trusted: a device that logged in
elsewhere, was revoked there, or uncovered a restore there is believed when the store says so.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

import structlog

from miss_protocol.errors import CloseCode, Code
from miss_protocol.ids import DeviceId
from miss_protocol.states import ServerState
from miss_server.doorbell.interface import News
from miss_server.observe import short
from miss_server.relay.connection import Connection
from miss_server.relay.hub import Hub
from miss_server.storage.messages import Head, Messages, NotDurable

log = structlog.get_logger()


class Sweep:
    """Looks at the connections of this node; `look` does it for all, `hear` for what it is told."""

    def __init__(self, messages: Messages, hub: Hub) -> None:
        self._messages = messages
        self._hub = hub
        self._hinted: dict[DeviceId, int] = {}
        self._all = False
        self._task: asyncio.Task[None] | None = None
        self.found = 0
        """Connections for which something waited that nothing had announced."""

    def hear(self, news: News) -> None:
        """Act on what a doorbell tells; returns at once and never raises."""
        if news.devices:
            self._hub.ring(news.devices)
        for device, generation in news.sessions:
            connection = self._hub.find(device)
            if connection is not None and connection.generation != generation:
                self._hinted[device] = generation
        self._all = self._all or news.everything
        if (self._hinted or self._all) and self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            while self._hinted or self._all:
                hinted, everything = self._hinted, self._all
                self._hinted, self._all = {}, False
                await self._compare(None if everything else list(hinted), hinted)
        except NotDurable as error:
            log.error("storage trouble", round="hints", error=str(error))
        except Exception:
            log.exception("round failed", round="hints")  # the next sweep looks again
        finally:
            self._task = None

    async def look(self) -> None:
        """Find what waits for connected devices although nobody rang, and devices that are gone."""
        await self._compare(None, {})

    async def _compare(
        self, devices: Collection[DeviceId] | None, hinted: dict[DeviceId, int]
    ) -> None:
        looked_at = [
            _Stand(connection, connection.session.delivered, connection.session.ticked)
            for connection in self._hub.connections()
            if connection.live and (devices is None or connection.device in devices)
        ]
        if not looked_at:
            return
        heads = await self._messages.heads(
            [one.connection.device for one in looked_at if one.connection.device is not None]
        )
        # Asked last: what was committed and not yet announced in this process is so by now.
        epoch = await self._messages.epoch()
        behind = []
        for one in looked_at:
            connection = one.connection
            if not connection.live or connection.device is None:
                continue
            head = heads.get(connection.device)
            code = _why_not(one, head, epoch, hinted.get(connection.device))
            if code is not None and head is not None and head.generation > connection.generation:
                code = await self._or_suspended(connection, code)
            if code is not None:
                log.info("session ends", device=short(connection.device), why=code.name.lower())
                connection.end(code)
            elif head is not None and self._waits(connection, head):
                behind.append(connection.device)
        self._hub.ring(behind)

    async def _or_suspended(self, connection: Connection, code: CloseCode) -> CloseCode:
        """Who was suspended is told so, with the reason, in place of being sent round once more."""
        assert connection.device is not None  # noqa: S101  # it is logged in
        record = await self._messages.device(connection.device)
        if record is None or not record.suspended:
            return code
        reason = await self._messages.why_suspended(record.account)
        if connection.live:
            connection.session.error(Code.SUSPENDED, reason=reason)
        return CloseCode.AUTH

    def _waits(self, connection: Connection, head: Head) -> bool:
        session = connection.session
        if not self._hub.told(connection) and (
            head.position > max(connection.head, session.delivered)
            or head.tick > max(connection.status_head, session.ticked)
        ):
            self.found += 1
        return (
            head.position > session.delivered
            or head.tick > session.ticked
            or session.state is ServerState.CATCHING_UP
        )


class _Stand(NamedTuple):
    """A connection and what it had been written before the store was asked: only that may be
    compared with the answer."""

    connection: Connection
    delivered: int
    ticked: int


def _why_not(one: _Stand, head: Head | None, epoch: bytes, hint: int | None) -> CloseCode | None:
    """Why a session may not go on, if so."""
    connection = one.connection
    if head is None:
        return CloseCode.REVOKED
    if head.generation > connection.generation and connection.epoch == epoch:
        # Only one that is known to have begun on a connection ends this client for good: else
        # (that one broke off at once) it must come back.
        return CloseCode.REPLACED if hint == head.generation else CloseCode.TRY_LATER
    if (
        connection.epoch != epoch
        or head.generation != connection.generation
        or head.position < one.delivered
        or head.tick < one.ticked
    ):
        # The database was restored beneath this node: both ends must agree anew (rule C6).
        return CloseCode.TRY_LATER
    return None
