"""Looks who has left the directory: notice first, suspension when the grace is over (rule F2)."""

import structlog

from miss_protocol.errors import CloseCode
from miss_server.doorbell.interface import Doorbell
from miss_server.observe import short
from miss_server.relay.clock import Clock
from miss_server.relay.hub import Hub
from miss_server.storage.departures import Departures

log = structlog.get_logger()


class Departing:
    """One round: `depart`."""

    def __init__(
        self, store: Departures, hub: Hub, doorbell: Doorbell, clock: Clock, *, grace_days: float
    ) -> None:
        self._store = store
        self._hub = hub
        self._doorbell = doorbell
        self._clock = clock
        self._grace_ms = round(grace_days * 24 * 3600 * 1000)

    async def depart(self) -> None:
        """Compare accounts with the directory, and write and tell what follows."""
        found = await self._store.find_departures(now_ms=self._clock.now_ms())
        swept = await self._store.note_departures(
            found, grace_ms=self._grace_ms, now_ms=self._clock.now_ms()
        )
        for account in swept.begun:
            log.warning("account is leaving", account=short(account))
        for account in swept.cancelled:
            log.info("account stays", account=short(account))
        for account in swept.suspended:
            log.warning("account suspended: its grace is over", account=short(account))
        # They come back at once, and their login is refused with the reason.
        self._hub.end(swept.devices, CloseCode.TRY_LATER)
        self._doorbell.revoked(swept.devices)
