"""Rate limits, by device and account first and by address only where nobody is known yet (F3).

So that 3,000 staff behind one hospital address reconnect unhindered while bots there guess codes:
only *failed* guesses count against an address, and they never hold up a signed request.
"""

from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from miss_protocol import limits as protocol_limits
from miss_protocol.errors import Code, Refused

SEARCHES_PER_MINUTE = 120
"""Of one device: two a second is faster than anybody types, and slow for copying a directory."""


class Throttle:
    """The limits of this node, in memory."""

    def __init__(self, *, enrolment_tries_per_hour: int) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._tries = RateLimitItemPerHour(enrolment_tries_per_hour, namespace="code-tries")
        self._claims = RateLimitItemPerHour(
            protocol_limits.PREKEY_CLAIMS_PER_HOUR, namespace="prekey-claims"
        )
        self._searches = RateLimitItemPerMinute(SEARCHES_PER_MINUTE, namespace="searches")

    async def may_try_code(self, address: str) -> None:
        """Raises `Refused(rate_limited)` if this address guessed too often."""
        if not await self._limiter.test(self._tries, address):
            raise Refused(Code.RATE_LIMITED, "code tries", retry_after=600.0)

    async def wrong_code(self, address: str) -> None:
        """Count a wrong guess against its address."""
        await self._limiter.hit(self._tries, address)

    async def may_claim(self, account: str, device: bytes) -> bool:
        """Whether an account may take another prekey of a device: else it could exhaust it."""
        return await self._limiter.hit(self._claims, account, device.hex())

    async def search(self, device: bytes) -> None:
        """Count a search; raises `Refused(rate_limited)`."""
        if not await self._limiter.hit(self._searches, device.hex()):
            raise Refused(Code.RATE_LIMITED, "searches", retry_after=10.0)
