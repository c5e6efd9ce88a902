"""Who is let in, who makes room, and that nobody who logged in pays for strangers beside him."""

from ipaddress import ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from miss_protocol.errors import Code
from miss_server.edge import admission as module
from miss_server.edge.addresses import TrustedProxies
from miss_server.edge.admission import Admission, Limits, TurnedAway, Visitor

PROXY = "10.0.0.1"
HOSPITAL, HOME = "192.0.2.1", "198.51.100.1"


class Door(Admission):
    """An admission with the visitors that it pushed out."""

    def __init__(
        self,
        connections: int = 1_000,
        strangers: int = 1_000,
        per_address: int = 1_000,
        rate: float = 1_000.0,
        burst: int = 1_000,
    ) -> None:
        super().__init__(
            Limits(connections, strangers, per_address, rate, burst),
            TrustedProxies([ip_network(PROXY)]),
        )
        self.out: list[str] = []

    def come(self, address: str = HOME, name: str = "", now: float = 0.0) -> Visitor:
        visitor = self.enter(address, lambda: self.out.append(name), now)
        assert isinstance(visitor, Visitor)
        return visitor

    def refused(self, address: str = HOME, now: float = 0.0) -> TurnedAway:
        refusal = self.enter(address, lambda: self.out.append("nobody"), now)
        assert isinstance(refusal, TurnedAway)
        return refusal


def test_who_logged_in_is_never_pushed_out() -> None:
    door = Door(connections=3)
    for _ in range(3):
        door.logged_in(door.come())
    assert door.refused() == TurnedAway(Code.BUSY, module.BUSY_RETRY)
    assert door.out == []
    assert (door.connections, door.turned_away, door.strangers) == (3, 1, 0)


def test_strangers_make_room_for_newcomers() -> None:
    door = Door(connections=2)
    door.logged_in(door.come())
    first = door.come(name="first")
    door.come(name="second")
    assert door.out == ["first"]
    door.leave(first)
    assert door.connections == 2


def test_the_address_with_most_strangers_pays() -> None:
    door = Door(strangers=5)
    at_home = door.come(HOME, "home")
    for number in range(4):
        door.come(HOSPITAL, f"bot {number}")
    door.come("203.0.113.5", "other")
    door.come(HOSPITAL, "bot 4")
    assert door.out == ["bot 0", "bot 1"]
    door.logged_in(at_home)
    assert door.pushed_out == 2


def test_who_said_hello_is_pushed_out_last() -> None:
    door = Door(strangers=2)
    said_hello = door.come(HOSPITAL, "said hello")
    door.come(HOSPITAL, "silent")
    door.heard(said_hello)
    door.come(HOSPITAL, "new")
    assert door.out == ["silent"]
    door.heard(said_hello)
    door.logged_in(said_hello)
    door.heard(said_hello)


def test_an_address_has_its_share() -> None:
    door = Door(per_address=2)
    first = door.come(HOSPITAL)
    door.logged_in(first)
    door.logged_in(first)
    door.come(HOSPITAL)
    assert door.refused(HOSPITAL).code is Code.BUSY
    door.come(HOME)
    door.leave(first)
    door.come(HOSPITAL)


def test_new_connections_of_an_address_are_paced_and_logins_given_back() -> None:
    door = Door(rate=2.0, burst=3)
    for _ in range(3):
        door.come(HOSPITAL)
    told = door.refused(HOSPITAL)
    assert told.code is Code.RATE_LIMITED
    assert told.retry_after == pytest.approx(0.5)
    door.come(HOME)
    visitor = door.come(HOSPITAL, now=0.5)
    assert door.refused(HOSPITAL, now=0.5).retry_after == pytest.approx(0.5)
    for _ in range(3_000):
        door.logged_in(visitor)
        door.leave(visitor)
        visitor = door.come(HOSPITAL, now=0.5)


def test_rates_of_old_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE_ADDRESSES_MAX", 3)
    door = Door(rate=1.0, burst=1)
    for number in range(3):
        door.come(f"203.0.113.{number}", now=float(number))
    door.come("203.0.113.9", now=2.5)  # 0 and 1 are whole again
    assert door.refused("203.0.113.9", now=2.5).code is Code.RATE_LIMITED
    assert door.refused("203.0.113.2", now=2.5).code is Code.RATE_LIMITED
    for number in range(9):
        door.come(f"203.0.113.{10 + number}", now=2.6)


def test_a_proxy_stands_for_many_until_it_tells() -> None:
    door = Door(per_address=1, rate=1.0, burst=2)
    pooled = [door.come(PROXY) for _ in range(5)]
    assert (door.connections, door.strangers) == (5, 0)
    assert door.pass_on(pooled[0], HOME, 0.0) is None
    refusal = door.pass_on(pooled[1], HOME, 0.0)
    assert refusal is not None
    assert refusal.code is Code.BUSY
    assert door.pass_on(pooled[2], HOSPITAL, 0.0) is None
    door.heard(pooled[3])
    door.logged_in(pooled[0])
    door.logged_in(pooled[3])
    assert (pooled[0].known, pooled[3].known) == (True, False)
    for visitor in pooled:
        door.leave(visitor)
    assert (door.connections, door.strangers) == (0, 0)


def test_few_are_told_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURNED_AWAY_MAX", 1)
    door = Door()
    assert door.may_be_told()
    assert not door.may_be_told()
    door.told()
    assert door.may_be_told()


class Crowd(RuleBasedStateMachine):
    """Any order of comings and goings keeps the counts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.door = Admission(
            Limits(connections=8, strangers=4, per_address=5, rate=5.0, burst=9), TrustedProxies()
        )
        self.here: list[Visitor] = []
        self.pushed = 0

    def push_out(self) -> None:
        self.pushed += 1

    @rule(address=st.sampled_from("abc"), pause=st.floats(0, 1))
    def come(self, address: str, pause: float) -> None:
        self.now += pause
        visitor = self.door.enter(address, self.push_out, self.now)
        if isinstance(visitor, Visitor):
            self.here.append(visitor)

    @precondition(lambda self: self.here)
    @rule(which=st.integers(0), act=st.sampled_from(["heard", "logged_in", "leave"]))
    def act(self, which: int, act: str) -> None:
        visitor = self.here[which % len(self.here)]
        getattr(self.door, act)(visitor)
        if act == "leave":
            self.here.remove(visitor)

    @invariant()
    def counted(self) -> None:
        door = self.door
        assert door.connections == len(self.here)
        assert door.strangers <= 4
        assert door.strangers == sum(len(some) for some in door._strangers.values())
        assert door.pushed_out == self.pushed
        for count, addresses in enumerate(door._by_count):
            assert (
                set(addresses) == {a for a, some in door._strangers.items() if len(some) == count}
                or not count
            )
        assert all(held <= 5 for held in door._held.values())


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
