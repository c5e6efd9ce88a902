"""A user of Redis with just what the guide gives it, and with less: told by its reason, and healed."""

import shlex
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from miss_server.conditions import State
from miss_server.doorbell import redis_checks
from miss_server.doorbell.redis import RedisLine
from miss_server.findings import Verdict
from miss_server.http import counting_checks, shared_counting
from miss_server.http.counting import CountsWatch
from miss_server.http.shared_counting import SharedCounts, refuses
from miss_server.redis_rights import rights
from tests.server.http.test_counting import THREE, shared
from tests.support.doorbells import now_ms
from tests.support.guides import SERVER, blocks
from tests.support.redis import RedisProcess, redis_server

DOMAIN = "miss.example.org"
RINGS_ONLY = ("on", ">PASSWORD", f"&miss:{DOMAIN}:doorbell", "+publish", "+subscribe", "+select")
COMMANDS = [rule[1:] for rule in rights(DOMAIN).split() if rule.startswith("+")]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at here is what Redis says, however loaded the machine is."""
    monkeypatch.setattr(shared_counting, "WAIT_MAX", 10.0)
    monkeypatch.setattr(shared_counting, "PROOF_MAX", 30.0)


async def begun(stack: AsyncExitStack, url: str, domain: str = DOMAIN) -> SharedCounts:
    """Counts of a node that has started; they end with the block."""
    counts = SharedCounts(url, domain, now_ms)
    stack.push_async_callback(counts.stop)
    await counts.start()
    return counts


async def test_the_user_of_the_guide_rings_and_counts() -> None:
    [block] = blocks(SERVER / "README.md", "Settings")
    command, acl, setuser, name, *rules = shlex.split(block.replace("\\\n", ""))
    assert (command, acl, setuser, name) == ("redis-cli", "ACL", "SETUSER", "miss")
    assert rules[:2] == ["on", ">PASSWORD"]
    assert " ".join(rules[2:]) == rights(DOMAIN)
    async with redis_server() as server, AsyncExitStack() as stack:
        url = await server.user(*rules)
        [bell] = await redis_checks.examine(url, domain=DOMAIN)
        [counting] = await counting_checks.examine(url, domain=DOMAIN, now_ms=now_ms)
        assert bell.verdict is counting.verdict is Verdict.OK
        counts = await begun(stack, url)
        assert [await counts.hit(THREE, "x") for _ in range(4)] == [True] * 3 + [False]
        assert (await CountsWatch(counts).condition()).state is State.OK
        # Nothing of another service's, on the same Redis.
        other = await begun(stack, url, "other.example")
        with pytest.raises(RedisError) as caught:
            await other.prove()
        assert refuses(caught.value)


async def test_each_right_is_needed_and_missed_by_a_look() -> None:
    async with redis_server() as server:
        await server.user("on", ">PASSWORD", *rights(DOMAIN).split())
        for command in COMMANDS:
            url = await server.user(f"-{command}")
            # Redis keeps what scripts were loaded: one that is not there yet has to be.
            async with server.client() as client:
                await client.script_flush()
            assert not await does(url), command
            await server.user(f"+{command}")
            assert await does(url), command


async def does(url: str) -> bool:
    """Whether doctor is content with all that a node does."""
    found = [
        *await redis_checks.examine(url, domain=DOMAIN),
        *await counting_checks.examine(url, domain=DOMAIN, now_ms=now_ms),
    ]
    return all(finding.verdict is Verdict.OK for finding in found)


async def test_one_that_rings_and_does_not_count_is_told_by_its_reason_until_it_does() -> None:
    async with redis_server() as server, AsyncExitStack() as stack:
        url = await server.user(*RINGS_ONLY)
        line = RedisLine(url, DOMAIN)
        await line.open()
        await line.say(b"it rings")
        await line.close()
        counts = await begun(stack, url)
        state = counts.state()
        assert state is not None
        assert (state.shared, state.refused) == (False, True)
        assert "evalsha" in state.why
        said = await CountsWatch(counts).condition()
        assert said.state is State.DEGRADED
        assert "Redis refuses to count" in said.text.en
        assert "refuse de compter" in said.text.fr
        [finding] = await counting_checks.examine(url, domain=DOMAIN, now_ms=now_ms)
        assert finding.verdict is Verdict.WARN
        assert "no permissions to run the 'evalsha'" in finding.text.en
        assert finding.do is not None
        assert rights(DOMAIN) in finding.do.fr
        since = state.since_ms
        await looked_again(server)
        assert await counts.hit(THREE, "x")
        state = counts.state()
        assert state is not None
        assert (state.shared, state.since_ms) == (False, since)
        await server.user(*rights(DOMAIN).split())
        await shared(counts, is_so=True)


async def looked_again(server: RedisProcess) -> None:
    """Wait until Redis has refused somebody to count twice more."""
    async with server.client() as client:
        begun = await refused(client)
        while await refused(client) < begun + 2:
            pass


async def refused(client: Redis) -> int:
    """How often Redis refused `evalsha`."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("rejected_calls", 0))


async def test_one_that_is_full_is_found_out_at_the_start_and_by_doctor() -> None:
    async with redis_server() as server, AsyncExitStack() as stack:
        async with server.client() as client:
            await client.config_set("maxmemory", "1")
        counts = await begun(stack, server.url)
        state = counts.state()
        assert state is not None
        assert state.refused
        assert "maxmemory" in state.why
        [finding] = await counting_checks.examine(server.url, domain=DOMAIN, now_ms=now_ms)
        assert finding.verdict is Verdict.WARN
        async with server.client() as client:
            await client.config_set("maxmemory", "0")
        await shared(counts, is_so=True)
