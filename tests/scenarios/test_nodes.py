"""Two server processes on one PostgreSQL: what crosses between them, by each doorbell and by none."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from miss_server.storage.postgres.seat import Seat, Taken
from tests.support.engines import free_port
from tests.support.mailing import revoke
from tests.support.postgres import PostgresProcess
from tests.support.redis import redis_server
from tests.support.server import DOMAIN, ServerProcess, run_command
from tests.support.wire import Device, Line, enrolled, further, json_problem, publish

NEVER = "3600"
"""Seconds between sweeps: what happens before is a ring's doing."""


@dataclass
class Service:
    """A database, a doorbell, and nodes on them."""

    dsn: str
    folder: Path
    settings: dict[str, str]
    stack: AsyncExitStack
    rings: bool
    started: int = 0

    async def node(self, **more: str) -> ServerProcess:
        """Start one more node."""
        self.started += 1
        place = self.folder / f"node{self.started}"
        place.mkdir()
        server = ServerProcess(
            place / "db", place / "log", dsn=self.dsn, settings=self.settings | more
        )
        await server.start()
        self.stack.push_async_callback(server.stop)
        return server

    async def command(self, *words: str) -> None:
        """Run an operator's command with the nodes' settings."""
        settings = self.settings | {"MISS_DATABASE": self.dsn}
        words = (*words, "--domain", DOMAIN)
        done = await asyncio.to_thread(run_command, "miss_server", *words, settings=settings)
        assert done.returncode == 0, done.stderr
        assert self.rings or "restore" in words or "not rung" in done.stderr, done.stderr


@pytest.fixture(params=["redis", "notify", "nothing"])
async def service(
    request: pytest.FixtureRequest, postgres: PostgresProcess, tmp_path: Path
) -> AsyncIterator[Service]:
    """With each doorbell in turn; `nothing` is a Redis that nobody reaches: every ring is lost."""
    dsn = postgres.dsn(await postgres.new_database())
    async with AsyncExitStack() as stack:
        settings = {"MISS_SWEEP_EVERY": NEVER}
        if request.param == "redis":
            redis = await stack.enter_async_context(redis_server(password="sesame"))
            settings["MISS_REDIS"] = redis.url
        elif request.param == "nothing":
            settings |= {
                "MISS_REDIS": f"redis://127.0.0.1:{free_port()}/0",
                "MISS_SWEEP_EVERY": "0.5",
            }
        yield Service(dsn, tmp_path, settings, stack, rings=request.param != "nothing")


@pytest.fixture
async def pair(service: Service) -> tuple[ServerProcess, ServerProcess]:
    """Two nodes."""
    return await service.node(), await service.node()


async def ready(line: Line) -> None:
    """Wait until it lives on what is handed or rung to it."""
    await line.caught_up()
    await line.ping()


async def test_a_message_and_its_status_cross(pair: tuple[ServerProcess, ServerProcess]) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[1])
    async with gp.online() as writer, nurse.online() as reader:
        await ready(writer)
        await ready(reader)
        for _ in range(3):
            send = gp.send(nurse.person)
            assert isinstance(await writer.settle(send), f.Sent)
            [row] = await reader.deliveries(1)
            assert row.id == send.id
            await reader.ack(receipts=[nurse.receipt(row)])
            told = (await writer.next(events.StatusChanged)).status
            assert (told.id, [d.state for d in told.devices]) == (send.id, ["delivered"])


async def test_a_login_on_one_node_ends_the_session_on_the_other(
    service: Service, pair: tuple[ServerProcess, ServerProcess]
) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[0])
    async with nurse.online() as older:
        await ready(older)
        nurse.server = pair[1]
        async with nurse.online() as newer, gp.online() as writer:
            await ready(newer)
            expected = CloseCode.REPLACED if service.rings else CloseCode.TRY_LATER
            assert await older.closed() == expected
            send = gp.send(nurse.person)
            assert isinstance(await writer.settle(send), f.Sent)
            [row] = await newer.deliveries(1)
            assert row.id == send.id


async def test_a_device_revoked_on_one_node_is_ended_on_the_other(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    gp = await enrolled(pair[0])
    tablet = await further(gp)
    tablet.server = pair[1]
    async with tablet.online() as line:
        await ready(line)
        revoke(gp.person, tablet.id)
        await publish(gp)
        assert await line.closed() == CloseCode.REVOKED


async def test_an_account_that_the_command_suspends_is_told_why_on_another_node(
    service: Service, pair: tuple[ServerProcess, ServerProcess]
) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[0])
    account = gp.person.account
    tablet = await further(gp)
    tablet.server = pair[1]
    why = "Publicité : charte, article 4."
    async with gp.online() as line, tablet.online() as second, nurse.online() as writer:
        for one in (line, second, writer):
            await ready(one)
        await service.command("accounts", "suspend", account, "--reason", why)
        refused = await writer.settle(nurse.send(gp.person))
        assert isinstance(refused, f.Refused)
        assert (refused.code, refused.accounts) == ("not_served", (account,))
        for ended in (line, second):
            told = (await ended.next(events.ErrorTold)).error
            assert (told.code, told.reason) == ("suspended", why)
            assert await ended.closed() == CloseCode.AUTH
    async with tablet.line() as line:
        await line.greet()
        assert (await line.error()).reason == why
        assert await line.closed() == CloseCode.AUTH
    problem = json_problem(await gp.call("GET", "/v1/prekeys"))
    assert (problem.code, problem.reason) == ("suspended", why)
    await service.command("accounts", "restore", account, "--reason", "Réglé.")
    async with tablet.online() as line, nurse.online() as writer:
        await ready(line)
        assert isinstance(await writer.settle(nurse.send(gp.person)), f.Sent)
        assert await line.deliveries(1)


async def test_a_restore_that_shows_on_one_node_ends_the_sessions_on_the_other(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[1])
    async with gp.online() as line:
        await ready(line)
        # Positions that this database never gave: it must be an older copy.
        nurse.position, nurse.digest = 4, b"\x07" * 32
        async with nurse.line() as other:
            assert (await other.log_in()).restored is not None
            assert await line.closed() == CloseCode.TRY_LATER
    async with gp.line() as line:
        assert (await line.log_in()).epoch == nurse.epoch


async def test_a_node_that_was_frozen_changes_nothing_when_it_goes_on(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    gp, nurse = await enrolled(pair[1]), await enrolled(pair[0])
    async with gp.online() as writer, nurse.online() as zombie:
        first = gp.send(nurse.person)
        assert isinstance(await writer.settle(first), f.Sent)
        await zombie.deliveries(1)
        assert pair[0].process is not None
        pair[0].process.send_signal(signal.SIGSTOP)
        try:
            late = nurse.send(gp.person)
            await zombie.put(f.Ack(position=1))
            await zombie.put(late)
            nurse.server = pair[1]
            nurse.sn -= 1  # that send was never answered
            async with nurse.online() as newer:
                [row] = await newer.deliveries(1)
                assert row.id == first.id
                pair[0].process.send_signal(signal.SIGCONT)
                assert await zombie.closed() in (CloseCode.REPLACED, CloseCode.TRY_LATER)
                # The late ack deleted nothing, and the late send took no number.
                sent = await newer.settle(nurse.send(gp.person))
                assert isinstance(sent, f.Sent)
                assert sent.id != late.id
                [row] = await writer.deliveries(1)
                assert row.id == sent.id
            async with nurse.online() as again:
                [row] = await again.deliveries(1)
                assert row.id == first.id
        finally:
            pair[0].process.send_signal(signal.SIGCONT)


async def test_two_nodes_race_for_one_device_and_one_has_it(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[0])
    for _ in range(5):
        lines: list[Line] = []
        for server in pair:
            nurse.server = server
            lines.append(await Line.open(nurse))
        await asyncio.gather(*(line.log_in() for line in lines))
        ends = [asyncio.create_task(line.ws.wait_closed()) for line in lines]
        async with asyncio.timeout(60):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        [left] = [line for line, end in zip(lines, ends, strict=True) if not end.done()]
        send = gp.send(nurse.person)
        async with gp.online() as writer:
            assert isinstance(await writer.settle(send), f.Sent)
            while (await left.deliveries(1))[0].id != send.id:
                pass
        await left.ws.close()
        await asyncio.wait(ends)


async def test_who_is_told_to_leave_goes_on_at_the_other_node(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    gp, nurse = await enrolled(pair[0]), await enrolled(pair[1])
    async with gp.online() as writer, nurse.online() as reader:
        await ready(writer)
        await ready(reader)
        stopping = asyncio.create_task(pair[1].stop())
        leaving = await reader.next(events.Leaving)
        assert leaving.bye.retry_after > 0
        assert await reader.closed() == CloseCode.DRAINING
        send = gp.send(nurse.person)
        assert isinstance(await writer.settle(send), f.Sent)
        nurse.server = pair[0]
        async with nurse.online() as again:
            [row] = await again.deliveries(1)
            assert row.id == send.id
        assert await stopping == 0


async def test_two_nodes_of_one_name_do_not_run(service: Service) -> None:
    await service.node(MISS_NODE="room-1")
    with pytest.raises(RuntimeError, match="another node named room-1") as failure:
        await service.node(MISS_NODE="room-1")
    assert "Traceback" not in str(failure.value)
    await service.node(MISS_NODE="room-2")


async def test_two_nodes_of_one_name_that_start_at_one_instant_do_not_run(
    postgres: PostgresProcess, tmp_path: Path
) -> None:
    dsn = postgres.dsn(await postgres.new_database())
    settings = {"MISS_NODE": "room-1"}
    server = ServerProcess(tmp_path / "db", tmp_path / "log", dsn=dsn, settings=settings)
    other = Seat(dsn, "room-1")
    async with asyncio.timeout(100):
        while not await came_between(other, server):
            assert await server.stop() == 0, server.log_text()
    await other.give_up()
    await server.start()
    assert await server.stop() == 0, server.log_text()


async def came_between(other: Seat, server: ServerProcess) -> bool:
    """Take a starting node's seat between its look at the database and its first moment of service.

    Nobody tells when that is, so it may be missed; then the node serves.
    """
    starting = asyncio.create_task(server.start())
    seen = False
    while not starting.done():
        try:
            await other.take()
        except Taken:
            seen = True
        else:
            if seen:
                with pytest.raises(RuntimeError, match="another node named room-1") as failure:
                    await starting
                assert "Traceback" not in str(failure.value)
                return True
            await other.give_up()
        await asyncio.sleep(0.005)
    await starting
    return False


async def test_workers_are_nodes_behind_one_port(service: Service) -> None:
    server = await service.node(MISS_WORKERS="3")
    people: list[Device] = [await enrolled(server) for _ in range(6)]
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(one.online()) for one in people]
        for line in lines:
            await ready(line)
        send = people[0].send(*(one.person for one in people[1:]))
        assert isinstance(await lines[0].settle(send), f.Sent)
        for line in lines[1:]:
            [row] = await line.deliveries(1)
            assert row.id == send.id
    assert await server.stop() == 0, server.log_text()
