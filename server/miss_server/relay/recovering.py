"""Completes recoveries whose delay is over (rule A3)."""

import structlog

from miss_protocol.errors import CloseCode
from miss_server.doorbell.interface import Doorbell
from miss_server.observe import short
from miss_server.relay.clock import Clock
from miss_server.relay.hub import Hub
from miss_server.storage.recoveries import Recoveries

RECOVER_EVERY = 5.0
log = structlog.get_logger()


class Recovering:
    """One round: `recover`."""

    def __init__(self, store: Recoveries, hub: Hub, doorbell: Doorbell, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._doorbell = doorbell
        self._clock = clock

    async def recover(self) -> None:
        """Put what is due in force; old devices and their senders hear of it at once."""
        for done in await self._store.complete_recoveries(now_ms=self._clock.now_ms()):
            self._hub.end(done.change.revoked, CloseCode.REVOKED)
            self._doorbell.revoked(done.change.revoked)
            self._doorbell.ring(done.change.ring)
            log.warning(
                "account recovered",
                account=short(done.account),
                revoked=len(done.change.revoked),
            )
