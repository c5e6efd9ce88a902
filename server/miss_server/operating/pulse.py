"""How late the event loop comes back: whatever holds it up holds up every message."""

import asyncio

from miss_server.relay.clock import Clock
from miss_server.tallies import Spread

BEAT = 0.25


async def feel(clock: Clock, lag: Spread) -> None:
    """Ask for a beat again and again, until cancelled, and note how late it came."""
    due = clock.steady() + BEAT
    while True:
        await asyncio.sleep(BEAT)
        now = clock.steady()
        lag.note(max(0.0, now - due))
        due = now + BEAT
