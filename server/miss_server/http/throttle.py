"""Rate limits, by device and account first and by address only where nobody is known yet (F3).

So that 3,000 staff behind one hospital address reconnect unhindered while bots there guess codes:
only *failed* guesses count against an address, and they never hold up a signed request. How fast
strangers of one address may connect is `edge.admission`'s business.

What guards people and their secrets is counted by all nodes together; what only guards a node's own
processor is counted by each alone.
"""

from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute

from miss_protocol import limits as protocol_limits
from miss_protocol.errors import Code, Refused
from miss_server.http.counting import Counts, NodeCounts

SEARCHES_PER_MINUTE = 120
"""Of one device: two a second is faster than anybody types, and slow for copying a directory."""
SEARCHES_PER_DAY = 2_000
"""Of one account, whichever its devices: a secretary's busiest day, and a thousandth of what copying a
directory needs."""
REPORT_TRIES_PER_HOUR = 60
"""Of one account, refused ones included: three times what a day allows, and few signatures to check."""
LOGINS_PER_MINUTE = 240
"""Of one device, which a phone that changes networks every two seconds does not reach. Counted once
its signature holds: else anybody could lock a device out by its id."""
CALLS_PER_MINUTE = 1_200
"""Signed calls of one device: a client that has gone wrong must not cost the others."""

RINGS_PER_HOUR = 5
"""Of one person, whoever has it rung: their number is public."""


class Throttle:
    """The limits, counted in `shared` where they are everybody's."""

    def __init__(
        self, shared: Counts, *, enrolment_tries_per_hour: int, sign_ins_per_hour: int
    ) -> None:
        self.shared = shared
        self._here = NodeCounts()
        self._tries = RateLimitItemPerHour(enrolment_tries_per_hour, namespace="code-tries")
        self._sign_ins = RateLimitItemPerHour(sign_ins_per_hour, namespace="sign-ins")
        self._rings = RateLimitItemPerHour(RINGS_PER_HOUR, namespace="rings")
        self._claims = RateLimitItemPerHour(
            protocol_limits.PREKEY_CLAIMS_PER_HOUR, namespace="prekey-claims"
        )
        self._searches = RateLimitItemPerMinute(SEARCHES_PER_MINUTE, namespace="searches")
        self._searches_of_a_day = RateLimitItemPerDay(SEARCHES_PER_DAY, namespace="searches-day")
        self._reports = RateLimitItemPerHour(REPORT_TRIES_PER_HOUR, namespace="report-tries")
        self._logins = RateLimitItemPerMinute(LOGINS_PER_MINUTE, namespace="logins")
        self._calls = RateLimitItemPerMinute(CALLS_PER_MINUTE, namespace="calls")

    async def may_try_code(self, address: str) -> None:
        """Raises `Refused(rate_limited)` if this address guessed too often."""
        if not await self.shared.room(self._tries, address):
            raise Refused(Code.RATE_LIMITED, "code tries", retry_after=600.0)

    async def wrong_code(self, address: str) -> None:
        """Count a wrong guess against its address."""
        await self.shared.hit(self._tries, address)

    async def sign_in(self, who: str) -> None:
        """Count a sign-in that an address or an account begins; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._sign_ins, who):
            raise Refused(Code.RATE_LIMITED, "sign-ins", retry_after=600.0)

    async def ring_person(self, person: str) -> None:
        """Count a question to a person on their own device; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._rings, person):
            raise Refused(Code.RATE_LIMITED, "rings", retry_after=900.0)

    async def may_claim(self, account: str, device: bytes) -> bool:
        """Whether an account may take another prekey of a device: else it could exhaust it."""
        return await self.shared.hit(self._claims, account, device.hex())

    async def search(self, account: str, device: bytes) -> None:
        """Count a search; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._searches, device.hex()):
            raise Refused(Code.RATE_LIMITED, "searches", retry_after=10.0)
        if not await self.shared.hit(self._searches_of_a_day, account):
            raise Refused(Code.RATE_LIMITED, "searches of a day", retry_after=3600.0)

    async def report(self, account: str) -> None:
        """Count a report that somebody tries to file; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._reports, account):
            raise Refused(Code.RATE_LIMITED, "report tries", retry_after=600.0)

    async def may_log_in(self, device: bytes) -> bool:
        """Count a login whose signature holds, unless the device logs in too often."""
        return await self._here.hit(self._logins, device.hex())

    async def call(self, device: bytes) -> None:
        """Count a signed call whose signature holds; raises `Refused(rate_limited)`."""
        if not await self._here.hit(self._calls, device.hex()):
            raise Refused(Code.RATE_LIMITED, "calls", retry_after=5.0)
