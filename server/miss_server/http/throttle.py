"""Rate limits, by device and account first and by address only where nobody is known yet (F3).

So that 3,000 staff behind one hospital address reconnect, enrol and sign in unhindered while bots there
guess codes: nothing that an address did has a right code refused. Wrong ones it may be told of are
counted; that no more than chance finds a right one is the codes' own doing (spec 02-wire §5). What a
stranger has looked up is looked up one after the other for each address, so that a flood of it waits for itself.
How fast strangers of one address may connect is `edge.admission`'s business.

What guards people and their secrets is counted by all nodes together; what only guards a node's own
processor is counted by each alone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from limits import (
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)

from miss_protocol import limits as protocol_limits
from miss_protocol.errors import Code, MissError, Refused
from miss_server.http.counting import Counts, NodeCounts
from miss_server.http.turns import Turns

T = TypeVar("T")

SEARCHES_PER_MINUTE = 120
"""Of one device: two a second is faster than anybody types, and slow for copying a directory."""
SEARCHES_AT_ONCE, AT_ONCE_SECONDS = 20, 10
"""Of one device within so many seconds: the letters of a name as they are typed. A minute's share taken in one
second would keep the processor from everybody's messages."""
SEARCHES_PER_DAY = 2_000
"""Of one account, whichever its devices: a secretary's busiest day. Whoever copies a nation by full pages needs
weeks of such days."""
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

RENEWALS_PER_HOUR = 30
"""Sign-ins by which one account is proven anew."""
RINGS_PER_HOUR = 5
"""Of one person, whoever has it rung: their number is public."""

GUESSED_WRONG = 10.0
"""Seconds after which one of too many wrong codes may be typed anew: a right one is not held up."""
OVER_CODES = frozenset({Code.CODE_USED, Code.CODE_EXPIRED})


@dataclass(slots=True)
class Trial:
    """The use of a code; set `doubted` if it is over unless the block succeeds."""

    doubted: bool = False


class Throttle:
    """The limits, counted in `shared` where they are everybody's."""

    def __init__(
        self, shared: Counts, *, enrolment_tries_per_hour: int, rings_per_hour: int
    ) -> None:
        self.shared = shared
        self._here = NodeCounts()
        self._turns = Turns()
        self._tries = RateLimitItemPerHour(enrolment_tries_per_hour, namespace="code-tries")
        self._over = RateLimitItemPerHour(enrolment_tries_per_hour, namespace="codes-over")
        self._renewals = RateLimitItemPerHour(RENEWALS_PER_HOUR, namespace="renewals")
        self._rings = RateLimitItemPerHour(RINGS_PER_HOUR, namespace="rings")
        self._rings_from = RateLimitItemPerHour(rings_per_hour, namespace="rings-from")
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

    async def look_up_code(self, address: str, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` finds for a code that somebody of this address gave.

        A right code is found whatever came from the address before. An unknown one counts as a guess; of
        too many it is told no more than that. Those of one address are looked up in turn.

        Raises:
            Refused: rate_limited, when this address guessed wrong too often, and did again.
        """
        async with self._turns.of("codes", address):
            try:
                return await look()
            except Refused as refused:
                if refused.code is Code.CODE_UNKNOWN and not await self.shared.hit(
                    self._tries, address
                ):
                    raise Refused(
                        Code.RATE_LIMITED, "code tries", retry_after=GUESSED_WRONG
                    ) from None
                raise

    @asynccontextmanager
    async def using_code(self, address: str, code: str) -> AsyncIterator[Trial]:
        """Around the use of a code. Who has one that is over is no guesser: it counts against that code at
        that address, and nobody else there. Its uses wait for each other, so that as many as are sent at once
        are no more than those sent in turn.

        Raises:
            Refused: rate_limited, when this code was used too often after its end.
        """
        names = address, sha256(code.encode()).hexdigest()
        async with self._turns.of("code", *names):
            if not await self.shared.room(self._over, *names):
                raise Refused(Code.RATE_LIMITED, "code over", retry_after=600.0)
            trial = Trial()
            try:
                yield trial
            except MissError as error:
                if trial.doubted or getattr(error, "code", None) in OVER_CODES:
                    await self.shared.hit(self._over, *names)
                raise

    async def renewal(self, account: str) -> None:
        """Count a sign-in by which an account is proven anew; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._renewals, account):
            raise Refused(Code.RATE_LIMITED, "renewals", retry_after=600.0)

    async def introduction(self, address: str) -> None:
        """Count a roster that an unknown device of an address brings; raises `Refused(rate_limited)`."""
        if not await self._here.hit(self._introductions, address):
            raise Refused(Code.RATE_LIMITED, "introductions", retry_after=600.0)

    async def ring_person(self, person: str) -> None:
        """Count a question to a person on their own device; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._rings, person):
            raise Refused(Code.RATE_LIMITED, "rings", retry_after=900.0)

    async def ring_from(self, address: str) -> None:
        """Count a question that a stranger of this address has asked; raises `Refused(rate_limited)`."""
        if not await self.shared.hit(self._rings_from, address):
            raise Refused(Code.RATE_LIMITED, "rings from here", retry_after=900.0)

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
