"""The server process on PostgreSQL: people write to each other, and what cannot work is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from tests.support.postgres import PostgresProcess
from tests.support.server import ServerProcess
from tests.support.wire import Device, enrolled


@asynccontextmanager
async def node(dsn: str, folder: Path, name: str = "one") -> AsyncIterator[ServerProcess]:
    """A running node with a folder of its own."""
    (folder / name).mkdir()
    server = ServerProcess(folder / name / "db", folder / name / "log", dsn=dsn)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def dsn(postgres: PostgresProcess) -> str:
    """An empty database: the first start makes the tables."""
    return postgres.dsn(await postgres.new_database())


async def read(device: Device) -> list[bytes]:
    """Everything that waits for a device, acknowledged."""
    ids: list[bytes] = []
    async with device.online() as line:
        while isinstance(
            event := await line.next(events.Delivered, events.CaughtUp), events.Delivered
        ):
            ids.append(event.deliver.id)
            await line.put(f.Ack(position=event.deliver.position))
        await line.ack()
    return ids


async def test_what_is_sent_survives_a_kill_of_the_node_and_of_postgres(
    dsn: str, tmp_path: Path
) -> None:
    async with node(dsn, tmp_path) as server:
        gp, doctor = await enrolled(server), await enrolled(server)
        told: list[bytes] = []
        for _ in range(3):
            async with gp.online() as line:
                send = gp.send(doctor.person)
                assert isinstance(await line.settle(send), f.Sent)
                await server.kill()
                told.append(send.id)
            await server.start()
        assert await read(doctor) == told


async def test_a_message_handed_to_one_node_is_read_from_another(dsn: str, tmp_path: Path) -> None:
    async with node(dsn, tmp_path) as one, node(dsn, tmp_path, "two") as two:
        gp, doctor = await enrolled(one), await enrolled(two)
        async with gp.online() as line:
            send = gp.send(doctor.person)
            assert isinstance(await line.settle(send), f.Sent)
        assert await read(doctor) == [send.id]


async def test_two_processes_do_not_share_a_node_folder(dsn: str, tmp_path: Path) -> None:
    async with node(dsn, tmp_path) as server:
        twin = ServerProcess(server.database, tmp_path / "twin.log", dsn=dsn)
        with pytest.raises(RuntimeError, match="another server"):
            await twin.start()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("127.0.0.1:", "127.0.0.2:"), "PostgreSQL"),
        (("/miss_", "/nowhere_"), "PostgreSQL"),
        (("password", "passwort"), "PostgreSQL"),
    ],
)
async def test_a_wrong_address_stops_the_start_in_one_line(
    dsn: str, tmp_path: Path, wrong: tuple[str, str], said: str
) -> None:
    server = ServerProcess(tmp_path / "db", tmp_path / "log", dsn=dsn.replace(*wrong))
    with pytest.raises(RuntimeError, match=said) as failure:
        await server.start()
    assert "Traceback" not in str(failure.value)
    assert "passwor" not in str(failure.value).replace("password authentication", "")
