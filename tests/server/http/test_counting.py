"""Rate limits of one node, and those that nodes share, with a real Redis that goes away."""

import asyncio

from limits import RateLimitItemPerHour, RateLimitItemPerMinute

from miss_server.conditions import State
from miss_server.http.counting import CountsWatch, NodeCounts
from miss_server.http.shared_counting import SharedCounts
from tests.support.doorbells import PATIENCE, now_ms
from tests.support.redis import RedisProcess, redis_server

DOMAIN = "miss.example"
THREE = RateLimitItemPerHour(3, namespace="test")


async def nodes(server: RedisProcess, count: int = 2) -> list[SharedCounts]:
    """Counts of several nodes."""
    made = [SharedCounts(server.url, DOMAIN, now_ms) for _ in range(count)]
    for one in made:
        await one.start()
    return made


async def shared(counts: SharedCounts, *, is_so: bool) -> None:
    """Wait until the counts are shared, or are not; each look asks, as a request would."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await counts.room(THREE, "anybody")
            state = counts.state()
            assert state is not None
            if state.shared is is_so:
                return
            await asyncio.sleep(0.02)  # nobody tells


async def test_a_window_slides_and_is_forgotten() -> None:
    seconds = 600.0
    here, limit = NodeCounts(lambda: seconds), RateLimitItemPerMinute(4, namespace="test")
    assert [await here.hit(limit, "x") for _ in range(5)] == [True] * 4 + [False]
    seconds = 659.9
    assert not await here.room(limit, "x")
    seconds = 661.0  # 59 of the minute before this moment were in the full window
    assert await here.hit(limit, "x")
    assert not await here.hit(limit, "x")
    seconds = 690.0  # half of that window still counts: 2, and the one of this
    assert await here.room(limit, "x")
    assert await here.hit(limit, "x")
    assert not await here.hit(limit, "x")
    seconds = 900.0
    assert [await here.hit(limit, "x") for _ in range(5)] == [True] * 4 + [False]


async def test_limits_and_names_are_counted_apart() -> None:
    here, other = NodeCounts(lambda: 0.0), RateLimitItemPerHour(3, namespace="other")
    for _ in range(3):
        assert await here.hit(THREE, "x", "1")
    assert not await here.room(THREE, "x", "1")
    assert await here.room(THREE, "x", "2")
    assert await here.room(other, "x", "1")


async def test_what_is_being_looked_at_takes_room_too() -> None:
    async with redis_server() as server:
        [shared_one] = await nodes(server, 1)
        for counts in (NodeCounts(lambda: 0.0), shared_one):
            assert await counts.hit(THREE, "x")
            assert await counts.room(THREE, "x", beside=1)
            assert not await counts.room(THREE, "x", beside=2)
        # What another node counted, which this one has not seen.
        [other] = await nodes(server, 1)
        assert not await other.room(THREE, "x", beside=2)
        await shared_one.stop()
        await other.stop()


async def test_what_one_node_counted_counts_on_the_other() -> None:
    async with redis_server(password="sesame") as server:
        a, b = await nodes(server)
        assert [await one.hit(THREE, "x", "1") for one in (a, b, a)] == [True] * 3
        for one in (a, b):
            assert not await one.room(THREE, "x", "1")
            assert not await one.hit(THREE, "x", "1")
            assert await one.room(THREE, "x", "2")
        await a.stop()
        await b.stop()


async def test_another_service_on_the_same_redis_counts_for_itself() -> None:
    async with redis_server() as server:
        [a] = await nodes(server, 1)
        other = SharedCounts(server.url, "other.example", now_ms)
        for _ in range(3):
            assert await a.hit(THREE, "x")
        assert not await a.room(THREE, "x")
        assert await other.room(THREE, "x")
        await a.stop()
        await other.stop()


async def test_without_redis_each_node_counts_alone_and_then_together_again() -> None:
    async with redis_server() as server:
        a, b = await nodes(server)
        assert await a.hit(THREE, "x")
        await server.kill()
        # What this node counted before is not forgotten.
        assert [await a.hit(THREE, "x") for _ in range(3)] == [True, True, False]
        state = a.state()
        assert state is not None
        assert not state.shared
        assert state.why
        assert (await CountsWatch(a).condition()).state is State.DEGRADED
        assert [await b.hit(THREE, "x") for _ in range(4)] == [True] * 3 + [False]
        await server.start()
        for one in (a, b):
            await shared(one, is_so=True)
        assert (await CountsWatch(a).condition()).state is State.OK
        assert [await one.hit(THREE, "y") for one in (a, b, a)] == [True] * 3
        assert not await b.hit(THREE, "y")
        await a.stop()
        await b.stop()


async def test_frozen_it_holds_up_no_request() -> None:
    async with redis_server() as server:
        [a] = await nodes(server, 1)
        server.freeze()
        answers = await asyncio.gather(*(a.hit(THREE, "x", str(n)) for n in range(100)))
        assert answers == [True] * 100
        await shared(a, is_so=False)
        server.thaw()
        await shared(a, is_so=True)
        await a.stop()


async def test_emptied_it_does_not_free_who_was_refused_here() -> None:
    async with redis_server() as server:
        a, b = await nodes(server)
        for _ in range(3):
            assert await a.hit(THREE, "x")
        await server.flush()
        assert not await a.hit(THREE, "x")
        assert await b.hit(THREE, "x")
        await a.stop()
        await b.stop()


async def test_absent_from_the_start_it_is_waited_for() -> None:
    async with redis_server() as server:
        await server.kill()
        [a] = await nodes(server, 1)
        state = a.state()
        assert state is not None
        assert not state.shared
        await server.start()
        await shared(a, is_so=True)
        await a.stop()
