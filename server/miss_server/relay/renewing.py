"""Looks whose proof of identity is too old: after the grace their accounts pause (spec 10 §2.4)."""

import structlog

from miss_protocol.errors import CloseCode
from miss_server.doorbell.interface import Doorbell
from miss_server.observe import short
from miss_server.relay.clock import Clock
from miss_server.relay.hub import Hub
from miss_server.storage.proofs import Proofs

LAPSE_EVERY = 600.0
_DAY_MS = 24 * 3600 * 1000

log = structlog.get_logger()


class Renewing:
    """One round: `lapse`. With `renew_days` 0 nobody is asked to prove themselves anew."""

    def __init__(
        self,
        store: Proofs,
        hub: Hub,
        doorbell: Doorbell,
        clock: Clock,
        *,
        renew_days: int,
        grace_days: int,
    ) -> None:
        self._store = store
        self._hub = hub
        self._doorbell = doorbell
        self._clock = clock
        self._days = renew_days
        self._kept_ms = (renew_days + grace_days) * _DAY_MS

    async def lapse(self) -> None:
        """Suspend who was not proven anew in time; they come back by proving it."""
        if not self._days:
            return
        now_ms = self._clock.now_ms()
        before_ms = now_ms - self._kept_ms
        while lapsed := await self._store.lapse(before_ms=before_ms, now_ms=now_ms):
            for one in lapsed:
                log.warning("account suspended: not proven anew", account=short(one.account))
                # They come back at once, and their login is refused with the reason.
                self._hub.end(one.devices, CloseCode.TRY_LATER)
                self._doorbell.revoked(one.devices)
