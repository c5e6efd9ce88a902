"""Plays in which the server ends: by SIGKILL, by SIGTERM, twice on one database, with a full disk."""

import asyncio
import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from miss_server.listening import BACK_WITHIN
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import Device, Line, enrolled, open_call, server_info


async def received(device: Device) -> list[f.Deliver]:
    """Everything that waits for a device, acknowledged."""
    async with device.online() as line:
        rows: list[f.Deliver] = []
        while isinstance(
            event := await line.next(events.Delivered, events.CaughtUp), events.Delivered
        ):
            rows.append(event.deliver)
            await line.put(f.Ack(position=event.deliver.position))
        await line.ack(receipts=[device.receipt(row) for row in rows])
    return rows


async def test_a_kill_right_after_sent_loses_nothing(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    told: list[bytes] = []
    for _ in range(3):
        async with gp.online() as line:
            send = gp.send(doctor.person)
            assert isinstance(await line.settle(send), f.Sent)
            await server.kill()
            told.append(send.id)
        await server.start()
    async with gp.online() as line:
        assert isinstance(await line.settle(send), f.Sent)  # asked again: the same answer
    assert [row.id for row in await received(doctor)] == told
    assert await received(doctor) == []


async def test_a_kill_amid_many_sends_leaves_each_whole_or_undone(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    for _ in range(3):
        sends = [gp.send(doctor.person) for _ in range(50)]
        async with gp.line() as line:
            await line.log_in(sn=sends[0].sn - 1)
            await line.put(*sends)
            first = await line.next(events.Settled)
            assert first.reply.sn == sends[0].sn
            await server.kill()
        await server.start()
        async with gp.online() as line:  # everything again, as a client's outbox would
            await line.put(*sends)
            for send in sends:
                assert isinstance(await line.answer(send.sn), f.Sent)
        # Each of them exactly once, in order.
        async with doctor.online() as reader:
            for send in sends:
                [row] = await reader.deliveries(1)
                assert row.id == send.id
                await reader.put(f.Ack(position=row.position))
            await reader.ack()
            assert not reader.seen or isinstance(reader.seen[0], events.CaughtUp)


async def test_acknowledged_before_a_kill_is_acknowledged_after_it(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    async with gp.online() as line:
        send = gp.send(doctor.person)
        await line.settle(send)
    async with doctor.online() as line:
        [row] = await line.deliveries(1)
        await line.ack(receipts=[doctor.receipt(row)])
        await server.kill()
    await server.start()
    assert await received(doctor) == []
    async with gp.online() as line:
        told = (await line.next(events.StatusChanged)).status
        assert [d.state for d in told.devices] == ["delivered"]


async def test_sigterm_says_bye_to_everybody_and_loses_nothing(server: ServerProcess) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    async with gp.online() as writer, doctor.online() as reader, doctor.line() as stranger:
        await reader.caught_up()
        sends = [gp.send(doctor.person) for _ in range(40)]
        await writer.put(*sends)
        await writer.next(events.Settled)
        stopping = asyncio.create_task(server.stop())
        back: set[float] = set()
        for line in (writer, reader, stranger):
            assert await line.closed() == CloseCode.DRAINING
            [bye] = [e.bye for e in line.seen if isinstance(e, events.Leaving)]
            assert bye.code == "busy"
            assert BACK_WITHIN[0] <= bye.retry_after <= BACK_WITHIN[1]
            back.add(bye.retry_after)
        assert len(back) == 3
        assert await stopping == 0
    assert "Traceback" not in server.log_text()
    with pytest.raises(OSError, match="."):
        await Line.open(gp)
    await server.start()
    async with gp.online() as writer:
        await writer.put(*sends)
        for send in sends:
            assert isinstance(await writer.answer(send.sn), f.Sent)
    assert [row.id for row in await received(doctor)] == [send.id for send in sends]


async def test_sigterm_does_not_wait_for_who_never_closes(server: ServerProcess) -> None:
    await server.stop()
    server.settings = {"MISS_DRAIN_SECONDS": "0.2"}
    await server.start()
    gp = await enrolled(server)
    async with gp.online() as line:
        line.ws.transport.pause_reading()
        assert await server.stop() == 0
        line.ws.transport.resume_reading()


async def test_a_second_server_on_the_database_is_refused(server: ServerProcess) -> None:
    second = ServerProcess(server.database, server.log.with_name("second.log"))
    with pytest.raises(RuntimeError, match="ended with 1") as refused:
        await second.start()
    assert "another server runs on this database" in str(refused.value)
    assert "Choose another file" in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert (await open_call(server, "GET", "/health/live")).status_code == 200
    await server.kill()  # a lock dies with its holder
    await second.start()
    await second.stop()


async def test_an_address_that_is_taken(server: ServerProcess, tmp_path: Path) -> None:
    second = ServerProcess(tmp_path / "other.sqlite", tmp_path / "second.log", port=server.port)
    with pytest.raises(RuntimeError, match="Choose another --host or --port"):
        await second.start()
    nowhere = ServerProcess(
        tmp_path / "other.sqlite", tmp_path / "third.log", options=["--host", "192.0.2.77"]
    )
    with pytest.raises(RuntimeError, match="Choose another --host or --port"):
        await nowhere.start()


async def test_a_database_that_is_not_ours_to_use(tmp_path: Path) -> None:
    theirs, text = tmp_path / "theirs.sqlite", tmp_path / "letter.txt"
    with closing(sqlite3.connect(theirs)) as db, db:
        db.execute("CREATE TABLE patients (name TEXT)")
    text.write_text("Cher confrère, " * 100)
    before = {path: path.read_bytes() for path in (theirs, text)}
    for path, said in (
        (theirs, "database of another program"),
        (text, "not a database"),
        (text / "miss.sqlite", "letter.txt"),
        (Path("/proc/miss.sqlite"), "/proc/miss.sqlite"),  # where nobody may write, root neither
    ):
        refused = ServerProcess(path, tmp_path / "refused.log")
        with pytest.raises(RuntimeError, match="ended with 1") as error:
            await refused.start()
        assert said in str(error.value)
        assert "Traceback" not in str(error.value)
    assert {path: path.read_bytes() for path in before} == before


async def test_a_folder_that_is_missing_is_made_and_kept_from_others(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "new" / "folder" / "miss.sqlite", tmp_path / "server.log")
    await server.start()
    assert await server.stop() == 0
    assert server.database.stat().st_mode & 0o777 == 0o600


async def test_a_locked_database_is_waited_for_and_told_if_it_takes_long(
    server: ServerProcess,
) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    async with gp.online() as line:
        await line.caught_up()
        lock = sqlite3.connect(server.database, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        waits = gp.send(doctor.person)
        await line.put(waits, f.Ping(1))
        while not line.pongs:
            await line.read()
        assert not line.seen  # not a word before the commit
        lock.execute("ROLLBACK")
        assert isinstance(await line.answer(waits.sn), f.Sent)
        lock.execute("BEGIN IMMEDIATE")
        send = gp.send(doctor.person)
        reply = await line.settle(send)
        assert isinstance(reply, f.RetrySend)
        assert (reply.code, reply.retry_after) == ("not_durable", 2.0)
        lock.execute("ROLLBACK")
        lock.close()
        assert isinstance(await line.settle(send), f.Sent)
    assert [row.id for row in await received(doctor)] == [waits.id, send.id]


async def test_a_disk_without_room_is_not_durable_and_heals_by_itself(
    server: ServerProcess,
) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    process = server.process
    assert process is not None
    written = server.database.with_name(server.database.name + "-wal").stat().st_size
    assert server.log.stat().st_size < 64 * 1024 < written
    async with gp.online() as line:
        # From here on no file of the process may grow beyond what is written already.
        old = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (64 * 1024, -1))
        sends = [gp.send(doctor.person) for _ in range(3)]
        await line.put(*sends)
        for send in sends:
            reply = await line.answer(send.sn)
            assert isinstance(reply, f.RetrySend)
            assert reply.code == "not_durable"
        refused = await gp.call("GET", "/v1/prekeys")
        assert (refused.status_code, refused.json()["code"]) == (503, "not_durable")
        await line.ping()  # reading goes on
        assert (await server_info(server)).domain == DOMAIN
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, old)
        for send in sends:
            assert isinstance(await line.settle(send), f.Sent)
    assert [row.id for row in await received(doctor)] == [send.id for send in sends]
    assert process.returncode is None


async def test_a_restored_copy_of_the_database_starts_a_new_epoch(
    server: ServerProcess, tmp_path: Path
) -> None:
    gp, doctor = await enrolled(server), await enrolled(server)
    backup = tmp_path / "backup.sqlite"
    with (
        closing(sqlite3.connect(server.database)) as source,
        closing(sqlite3.connect(backup)) as target,
    ):
        source.backup(target)
    async with gp.online() as line:
        lost = gp.send(doctor.person)
        await line.settle(lost)
    assert len(await received(doctor)) == 1
    await server.kill()
    for name in ("", "-wal", "-shm"):
        server.database.with_name(server.database.name + name).unlink(missing_ok=True)
    os.replace(backup, server.database)
    await server.start()
    async with doctor.line() as line:
        welcome = await line.log_in()
        assert (welcome.acked, welcome.digest) == (0, bytes(32))
        assert isinstance(welcome.restored, int)
        assert welcome.prekeys == 0
    async with gp.line() as line:
        await line.log_in()
        # Its outbox still holds what the doctor has not acknowledged since.
        assert isinstance(await line.settle(gp.send(doctor.person, id=lost.id)), f.Sent)
