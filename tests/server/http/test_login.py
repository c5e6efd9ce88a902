"""The way onto a connection: what is turned away, with which code and close code."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import CloseCode, Code
from miss_protocol.identity.login import sign_login
from tests.support.hosted import hosted
from tests.support.mailing import revoke
from tests.support.server import ServerProcess
from tests.support.wire import Device, Line, enrolled, further, publish


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """A device of the standing server."""
    return await enrolled(standing)


async def turned_away(line: Line, code: Code, close: CloseCode) -> None:
    """The hello just said is answered by an error, then by a close."""
    error = await line.error()
    assert (error.code, error.about) == (code.wire, "hello")
    assert await line.closed() == close


async def test_nothing_but_a_hello_may_come_first(device: Device) -> None:
    cardiologist = await enrolled(device.server)
    send = device.send(cardiologist.person)
    async with device.line() as line:
        await line.put(send)
        await line.put(f.Ack(position=0), f.Nack(0, "malformed"))
        for about in ("send", "ack", "nack"):
            error = await line.error()
            assert (error.code, error.about) == ("out_of_place", about)
        await line.ping()
        await line.log_in()
        assert isinstance(await line.settle(send), f.Sent)


async def test_a_second_hello_is_out_of_place_and_changes_nothing(device: Device) -> None:
    async with device.line() as line:
        hello = device.hello(line.challenge)
        await line.greet()
        await line.put(hello)
        await line.next(events.Welcomed)
        assert (await line.error()).code == "out_of_place"
        await line.put(hello)
        assert (await line.error()).about == "hello"
        await line.ping()


@pytest.mark.parametrize("wrong", ["signature", "key", "domain", "subprotocol", "nonce"])
async def test_a_signature_that_does_not_hold(device: Device, wrong: str) -> None:
    async with device.line() as line:
        given = {
            "domain": device.server.domain,
            "nonce": line.challenge.nonce,
            "device": device.id,
            "subprotocol": f.MSGPACK,
        }
        key = device.key
        if wrong == "key":
            key = SigningKey.generate()
        elif wrong == "domain":
            given["domain"] = "elsewhere.example"
        elif wrong == "subprotocol":
            given["subprotocol"] = f.JSON
        elif wrong == "nonce":
            given["nonce"] = os.urandom(32)
        signature = sign_login(key, **given)  # type: ignore[arg-type]  # each has its own type
        if wrong == "signature":
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        await line.greet(signature=signature)
        await turned_away(line, Code.AUTH_FAILED, CloseCode.AUTH)


async def test_a_hello_recorded_on_another_connection_opens_no_second_one(device: Device) -> None:
    async with device.online() as first:
        recorded = device.hello(first.challenge)
        async with device.line() as thief:
            assert thief.challenge.nonce != first.challenge.nonce
            await thief.greet(signature=recorded.signature)
            await turned_away(thief, Code.AUTH_FAILED, CloseCode.AUTH)
        await first.ping()


async def test_an_unknown_device_looks_like_a_bad_signature(device: Device) -> None:
    async with device.line() as line:
        await line.greet(device=os.urandom(16))
        await turned_away(line, Code.AUTH_FAILED, CloseCode.AUTH)


async def test_a_revoked_device_is_told_so_even_while_connected(device: Device) -> None:
    tablet = await further(device)
    async with tablet.online() as line:
        await line.caught_up()
        revoke(device.person, tablet.id)
        await publish(device)
        assert await line.closed() == CloseCode.REVOKED
    async with tablet.line() as line:
        await line.greet()
        await turned_away(line, Code.REVOKED, CloseCode.REVOKED)


async def test_a_suspended_account_is_told_so(device: Device) -> None:
    with closing(sqlite3.connect(device.server.database)) as db, db:
        db.execute("UPDATE accounts SET suspended = 1 WHERE address = ?", (device.person.account,))
    async with device.line() as line:
        await line.greet()
        await turned_away(line, Code.SUSPENDED, CloseCode.AUTH)


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        ("2.3.9", False),
        ("2", False),
        ("beta", False),
        ("2.4", True),
        ("2.4.1-rc1", True),
        ("10", True),
    ],
)
async def test_an_app_that_is_too_old_must_be_updated(
    device: Device, version: str, welcome: bool
) -> None:
    device.app = f.App("old-app", version, "android")
    async with device.line() as line:
        if welcome:
            await line.log_in()
        else:
            await line.greet()
            await turned_away(line, Code.UPGRADE_REQUIRED, CloseCode.PROTOCOL)


async def test_a_device_that_connects_twice_keeps_the_newer_connection(device: Device) -> None:
    async with device.online() as older, device.online() as newer:
        assert await older.closed() == CloseCode.REPLACED
        await newer.ping()
        async with device.online(f.JSON) as newest:
            assert await newer.closed() == CloseCode.REPLACED
            await newest.ping()


async def test_many_simultaneous_connections_of_a_device_leave_exactly_one(device: Device) -> None:
    lines = [await Line.open(device) for _ in range(8)]
    await asyncio.gather(*(line.greet() for line in lines))
    for line in lines:
        await line.next(events.Welcomed)
    ended = {asyncio.create_task(line.closed()): line for line in lines}
    done: set[asyncio.Task[int]] = set()
    while len(done) < 7:
        newly, _ = await asyncio.wait(
            ended.keys() - done, return_when=asyncio.FIRST_COMPLETED, timeout=20
        )
        assert newly, "a replaced connection was left open"
        done |= newly
    assert {task.result() for task in done} == {CloseCode.REPLACED}
    [(left, line)] = [(task, line) for task, line in ended.items() if task not in done]
    left.cancel()
    await asyncio.wait({left})
    await line.ping()
    for each in lines:
        await each.ws.close()


async def test_a_device_that_is_behind_its_own_past_is_rolled_back(device: Device) -> None:
    cardiologist = await enrolled(device.server)
    async with device.online() as line:
        await line.settle(device.send(cardiologist.person))
    device.sn = 0
    async with device.line() as line:
        await line.greet()
        await turned_away(line, Code.SN_REUSED, CloseCode.ROLLED_BACK)


async def test_no_hello_at_all_is_ended_after_its_time(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        async with device.line() as line:
            server.clock.ahead += limits.HELLO_TIMEOUT + 1
            assert await line.closed() == CloseCode.TRY_LATER
        async with device.online() as line:
            await line.ping()


async def test_a_silent_connection_is_ended_after_its_time(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        async with device.online() as line:
            await line.caught_up()
            server.clock.ahead += limits.IDLE_TIMEOUT + 1
            assert await line.closed() == CloseCode.ACK_TIMEOUT


async def test_a_challenge_tells_domain_and_time(device: Device) -> None:
    async with device.line() as line:
        assert line.challenge.domain == device.server.domain
        async with device.line() as other:
            assert other.challenge.nonce != line.challenge.nonce
            assert other.challenge.time >= line.challenge.time
