"""Rate limits, by device and account first and by address only where nobody is known yet (F3).

So that 3,000 staff behind one hospital address reconnect unhindered while bots there guess codes:
only *wrong* codes count against an address, and they never hold up a signed request. How fast
strangers of one address may connect is `edge.admission`'s business.

What guards people and their secrets is counted by all nodes together; what only guards a node's own
processor is counted by each alone.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from limits import (
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)

from miss_protocol import limits as protocol_limits
from miss_protocol.errors import Code, MissError, Refused
from miss_server.http.counting import Counts, NodeCounts

SEARCHES_PER_MINUTE = 120
"""Of one device: two a second is faster than anybody types, and slow for copying a directory."""
SEARCHES_AT_ONCE, AT_ONCE_SECONDS = 20, 10
"""Of one device within so many seconds: the letters of a name as they are typed. A minute's share taken in one
second would keep the processor from everybody's messages."""
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
INTRODUCTIONS_PER_HOUR = 300
"""Rosters that devices of one address bring which this server does not know: a hospital's new phones after
a restore need a few each, and a flood of them costs less than a second of processor."""

RINGS_PER_HOUR = 5
"""Of one person, whoever has it rung: their number is public."""

WRONG_CODES = frozenset({Code.CODE_UNKNOWN, Code.CODE_USED, Code.CODE_EXPIRED})


@dataclass(slots=True)
class Trial:
    """The trial of a code; set `doubted` if it is wrong unless the block succeeds."""

    doubted: bool = False


class Throttle:
    """The limits, counted in `shared` where they are everybody's."""

    def __init__(
        self, shared: Counts, *, enrolment_tries_per_hour: int, sign_ins_per_hour: int
    ) -> None:
        self.shared = shared
        self._here = NodeCounts()
        self._trials = Counter[str]()
        self._trial_ended = asyncio.Event()
        self._tries = RateLimitItemPerHour(enrolment_tries_per_hour, namespace="code-tries")
        self._sign_ins = RateLimitItemPerHour(sign_ins_per_hour, namespace="sign-ins")
        self._rings = RateLimitItemPerHour(RINGS_PER_HOUR, namespace="rings")
        self._claims = RateLimitItemPerHour(
            protocol_limits.PREKEY_CLAIMS_PER_HOUR, namespace="prekey-claims"
        )
        self._searches = RateLimitItemPerMinute(SEARCHES_PER_MINUTE, namespace="searches")
        self._searches_at_once = RateLimitItemPerSecond(
            SEARCHES_AT_ONCE, AT_ONCE_SECONDS, namespace="searches-at-once"
        )
        self._searches_of_a_day = RateLimitItemPerDay(SEARCHES_PER_DAY, namespace="searches-day")
        self._reports = RateLimitItemPerHour(REPORT_TRIES_PER_HOUR, namespace="report-tries")
        self._logins = RateLimitItemPerMinute(LOGINS_PER_MINUTE, namespace="logins")
        self._calls = RateLimitItemPerMinute(CALLS_PER_MINUTE, namespace="calls")
        self._introductions = RateLimitItemPerHour(
            INTRODUCTIONS_PER_HOUR, namespace="introductions"
        )

    @asynccontextmanager
    async def trying_code(self, address: str) -> AsyncIterator[Trial]:
        """Around the use of a code that somebody gave; one refused as wrong counts against the address.

        Those that are being looked at count as wrong until they are known, and others wait for them: else
        as many could be guessed as are sent at once.

        Raises:
            Refused: rate_limited, when this address was wrong too often.
        """
        await self._begin_trial(address)
        trial = Trial()
        try:
            yield trial
        except MissError as error:
            if trial.doubted or getattr(error, "code", None) in WRONG_CODES:
                await self.shared.hit(self._tries, address)
            raise
        finally:
            self._leave_trial(address)
            self._trial_ended.set()
            self._trial_ended = asyncio.Event()

    async def _begin_trial(self, address: str) -> None:
        while True:
            beside = self._trials[address]
            self._trials[address] += 1
            try:
                if await self.shared.room(self._tries, address, beside=beside):
                    return
                if not beside or not await self.shared.room(self._tries, address):
                    raise Refused(Code.RATE_LIMITED, "code tries", retry_after=600.0)
            except BaseException:
                self._leave_trial(address)
                raise
            self._leave_trial(address)
            # A whole ward enrols at once: the others are known in a moment. Who leaves as the last finds
            # nobody and tries again, so that somebody always goes on and wakes those who wait.
            if self._trials[address]:
                await self._trial_ended.wait()

    def _leave_trial(self, address: str) -> None:
        self._trials[address] -= 1
        if not self._trials[address]:
            del self._trials[address]

    async def sign_in(self, who: str) -> None:
        """Count a sign-in that an address or an account begins; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._sign_ins, who):
            raise Refused(Code.RATE_LIMITED, "sign-ins", retry_after=600.0)

    async def introduction(self, address: str) -> None:
        """Count a roster that an unknown device of an address brings; raises `Refused(rate_limited)`."""
        if not await self._here.hit(self._introductions, address):
            raise Refused(Code.RATE_LIMITED, "introductions", retry_after=600.0)

    async def ring_person(self, person: str) -> None:
        """Count a question to a person on their own device; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._rings, person):
            raise Refused(Code.RATE_LIMITED, "rings", retry_after=900.0)

    async def may_claim(self, account: str, device: bytes) -> bool:
        """Whether an account may take another prekey of a device: else it could exhaust it."""
        return await self.shared.hit(self._claims, account, device.hex())

    async def search(self, account: str, device: bytes) -> None:
        """Count a search; raises `Refused(rate_limited)`."""
        if not await self._here.hit(self._searches_at_once, device.hex()):
            raise Refused(Code.RATE_LIMITED, "searches at once", retry_after=2.0)
        await self.look_up(account, device)

    async def look_up(self, account: str, device: bytes) -> None:
        """Count a look at one entry, as a search of the day; raises `Refused(rate_limited)`."""
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
