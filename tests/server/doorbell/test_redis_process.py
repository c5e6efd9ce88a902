"""The server that tests harm is real: it can be killed, frozen, emptied, and it is always ended."""

import os
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError, ConnectionError, TimeoutError

from tests.support import redis as support
from tests.support.engines import NOBODY, Missing
from tests.support.redis import redis_server


async def test_it_is_killed_started_again_and_emptied() -> None:
    async with redis_server() as server:
        async with server.client() as client:
            await client.set("a", "1")
            await server.flush()
            assert await client.get("a") is None
            await client.set("a", "1")
        await server.restart()
        async with server.client() as client:
            assert await client.get("a") is None
        await server.kill()
        async with server.client() as client:
            with pytest.raises(ConnectionError):
                await client.ping()
    assert not server.folder.exists()


async def test_frozen_it_answers_nothing_and_then_goes_on() -> None:
    async with redis_server() as server, server.client() as client:
        server.freeze()
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        with pytest.raises(TimeoutError):
            await client.ping()
        server.thaw()
        async with server.client() as another:
            assert await another.ping()


async def test_it_asks_for_a_password_and_takes_another_at_run_time() -> None:
    async with redis_server(password="sesame") as server:
        async with server.client() as client:
            assert await client.ping()
        await server.change_password("other")
        async with server.client() as client:
            assert await client.ping()
        server.password = "wrong"  # noqa: S105  # of a test
        async with server.client() as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


async def test_it_runs_without_rights() -> None:
    async with redis_server() as server:
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        [uid] = [line.split()[1] for line in status.splitlines() if line.startswith("Uid:")]
        assert int(uid) == (os.geteuid() or NOBODY)


def test_a_machine_without_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    support.binary.cache_clear()
    try:
        with pytest.raises(Missing, match="apt install redis-server"):
            support.binary()
        old = tmp_path / "redis-server"
        old.write_text("#!/bin/sh\necho Redis server v=6.2.14 bits=64\n")
        old.chmod(0o755)
        with pytest.raises(Missing, match=r"too old .*6\.2\.14"):
            support.binary()
    finally:
        support.binary.cache_clear()
