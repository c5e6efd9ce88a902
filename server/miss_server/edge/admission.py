"""Who may connect: caps on connections in all, on strangers among them, and on their rate (rule F3).

A stranger is a connection that has not proved a device's key. Honest ones are strangers for moments,
so when there are too many, the oldest of the address that holds most of them makes room: somebody
who opens sockets and says nothing only pushes his own out. Who has logged in is never pushed out,
and gets the address back what its coming had used up of the rate: 3,000 colleagues behind one
address of a hospital can all come back at once, whatever else comes from there.

All of it is this node's own: what another node carries is no burden here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from miss_protocol.errors import Code
from miss_server.edge.addresses import TrustedProxies, subscriber

TURNED_AWAY_MAX = 128
"""Connections at a time that are told why they are turned away; more are just cut."""
RATE_ADDRESSES_MAX = 100_000
"""Addresses whose rate is remembered: 20 MB at most."""
BUSY_RETRY = 5.0
"""Seconds, spread by the client, after which it may find room."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is let in.

    Attributes:
        connections: in all, of every kind.
        strangers: of those, how many that have not logged in.
        per_address: of one address, in all.
        rate: new ones of one address a second, in the long run.
        burst: new ones of one address that may come at once.
    """

    connections: int
    strangers: int
    per_address: int
    rate: float
    burst: int


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a connection is not let in, and after how many seconds (spread) to come again."""

    code: Code
    retry_after: float


class Visitor:
    """One connection that was let in."""

    __slots__ = ("address", "known", "push_out")

    def __init__(self, address: str | None, push_out: Callable[[], None]) -> None:
        self.address = address
        """What limits count it under; None for a proxy of ours, which stands for many."""
        self.push_out = push_out
        """Ends it at once, to make room."""
        self.known = False
        """It has logged in."""


def _gone() -> None:
    """Nothing is left to be pushed out."""


class Admission:
    """Counts the connections of this node. All times are seconds of one clock that only goes on."""

    def __init__(self, limits: Limits, proxies: TrustedProxies) -> None:
        self.limits = limits
        self.proxies = proxies
        self.connections = 0
        self.turned_away = 0
        """Since the start."""
        self.pushed_out = 0
        """Since the start."""
        self._telling = 0
        self._held: dict[str, int] = {}
        """Connections by address."""
        self._strangers: dict[str, dict[Visitor, None]] = {}
        """Strangers by address, oldest first."""
        self._by_count: list[dict[str, None]] = [{}]
        """Addresses by their number of strangers, so that the one with most is found at once."""
        self._stranger_count = 0
        self._full_again: dict[str, float] = {}
        """When an address's allowance will be whole again, if it is not."""

    @property
    def strangers(self) -> int:
        """Connections that count against an address and have not logged in."""
        return self._stranger_count

    # --- coming and going -------------------------------------------------------------------------

    def enter(self, peer: str, push_out: Callable[[], None], now: float) -> Visitor | TurnedAway:
        """A connection came from the address `peer` of its socket.

        Call `leave` when it is over. A proxy's is counted in all only: call `pass_on` when it told
        whom it stands for.
        """
        if self.connections >= self.limits.connections and not self._make_room():
            self.turned_away += 1
            return TurnedAway(Code.BUSY, BUSY_RETRY)
        if peer in self.proxies:
            self.connections += 1
            return Visitor(None, push_out)
        visitor = self._let_in(subscriber(peer), push_out, now)
        if isinstance(visitor, Visitor):
            self.connections += 1
        return visitor

    def pass_on(self, visitor: Visitor, client: str, now: float) -> TurnedAway | None:
        """A proxy's connection turns out to stand for one client, from now to its end."""
        counted = self._let_in(subscriber(client), visitor.push_out, now, visitor)
        return counted if isinstance(counted, TurnedAway) else None

    def heard(self, visitor: Visitor) -> None:
        """It did what was waited for: others are pushed out before it now."""
        if visitor.address is not None:
            strangers = self._strangers.get(visitor.address, {})
            if visitor in strangers:
                del strangers[visitor]
                strangers[visitor] = None

    def logged_in(self, visitor: Visitor) -> None:
        """It has proved a device's key. Nothing follows from that for a proxy's other clients."""
        if visitor.known or visitor.address is None:
            return
        self._no_stranger(visitor)
        if visitor.address in self._full_again:
            self._full_again[visitor.address] -= 1 / self.limits.rate
        visitor.known = True

    def leave(self, visitor: Visitor) -> None:
        """It is over. Once for each `Visitor` that `enter` returned."""
        self.connections -= 1
        # What it holds holds it, too: cut here, both are freed at once and not by the collector.
        visitor.push_out = _gone
        address = visitor.address
        if address is None:
            return
        self._no_stranger(visitor)
        self._held[address] -= 1
        if not self._held[address]:
            del self._held[address]

    # --- turning away -----------------------------------------------------------------------------

    def may_be_told(self) -> bool:
        """Whether one more may stay for a moment to be told why; then call `told` afterwards."""
        if self._telling >= TURNED_AWAY_MAX:
            return False
        self._telling += 1
        return True

    def told(self) -> None:
        """One that was turned away is gone."""
        self._telling -= 1

    # --- counting ---------------------------------------------------------------------------------

    def _let_in(
        self, address: str, push_out: Callable[[], None], now: float, known: Visitor | None = None
    ) -> Visitor | TurnedAway:
        wait = self._too_fast(address, now)
        if wait > 0:
            self.turned_away += 1
            return TurnedAway(Code.RATE_LIMITED, wait)
        if self._held.get(address, 0) >= self.limits.per_address:
            self.turned_away += 1
            return TurnedAway(Code.BUSY, BUSY_RETRY)
        if self._stranger_count >= self.limits.strangers:
            self._make_room()
        visitor = known or Visitor(address, push_out)
        visitor.address = address
        self._held[address] = self._held.get(address, 0) + 1
        strangers = self._strangers.setdefault(address, {})
        strangers[visitor] = None
        self._recount(address, len(strangers) - 1)
        self._stranger_count += 1
        return visitor

    def _too_fast(self, address: str, now: float) -> float:
        """Seconds until the address may come again; 0 and counted if it may now."""
        step, burst = 1 / self.limits.rate, self.limits.burst / self.limits.rate
        full = max(self._full_again.get(address, 0.0), now)
        if full - now > burst - step:
            return full - now - burst + step
        if len(self._full_again) >= RATE_ADDRESSES_MAX:
            self._full_again = {a: t for a, t in self._full_again.items() if t > now}
            if len(self._full_again) >= RATE_ADDRESSES_MAX:
                self._full_again.clear()
        self._full_again[address] = full + step
        return 0.0

    def _make_room(self) -> bool:
        """Push a stranger out: the oldest of the address with most of them."""
        while len(self._by_count) > 1 and not self._by_count[-1]:
            self._by_count.pop()
        if len(self._by_count) == 1:
            return False
        address = next(iter(self._by_count[-1]))
        visitor = next(iter(self._strangers[address]))
        self._no_stranger(visitor)
        self.pushed_out += 1
        # It may take a moment until `leave` is called; that one is turned out already.
        visitor.push_out()
        return True

    def _no_stranger(self, visitor: Visitor) -> None:
        address = visitor.address
        assert address is not None  # noqa: S101  # the callers have looked
        strangers = self._strangers.get(address, {})
        if visitor not in strangers:
            return
        del strangers[visitor]
        self._recount(address, len(strangers) + 1)
        self._stranger_count -= 1
        if not strangers:
            del self._strangers[address]

    def _recount(self, address: str, before: int) -> None:
        now = len(self._strangers[address])
        if before:
            self._by_count[before].pop(address, None)
        if now:
            if now == len(self._by_count):
                self._by_count.append({})
            self._by_count[now][address] = None
