"""`miss-server backup` beside a running server, `restore`, and what real clients make of it."""

import asyncio
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from miss_client.events import Restored
from tests.clients.conftest import World, until
from tests.support.operating import scrape, value
from tests.support.server import DOMAIN, ServerProcess, miss_server

pytestmark = pytest.mark.timeout(90)


def command(
    server: ServerProcess, *words: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """One command of the operator, for this server's database."""
    return miss_server(*words, "--domain", DOMAIN, database=server.database, check=check)


async def beside(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """The same, while the test goes on."""
    return await asyncio.to_thread(command, server, *words)


async def test_what_came_after_a_backup_comes_again_from_its_senders_and_once(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    target = world.folder / "backups"
    target.mkdir()
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
        # The server is at work meanwhile: a backup is of one moment all the same.
        copying = asyncio.create_task(beside(world.server, "backup", str(target)))
        for number in range(20):
            await gp.wait_for_state(
                await gp.send([nurse.account], f"pendant {number}"), "delivered"
            )
        done = await copying
        [made] = target.iterdir()
        assert f"{made}: " in done.stdout
        assert "own disk" in done.stderr
        await gp.wait_for_state(await gp.send([nurse.account], "deux"), "delivered")
        await nurse.drained()
    gp = world.reopen(gp)
    async with gp:
        lost = await gp.send([nurse.account], "trois")
        await gp.wait_for_state(lost, "sent")
    await world.server.stop()
    done = await beside(world.server, "restore", str(made), "--yes")
    assert "is the backup of 20" in done.stdout
    await world.server.start()
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    on_gp, on_nurse = gp.events(), nurse.events()
    async with gp, nurse:
        await until(on_gp, Restored)
        await until(on_nurse, Restored)
        await gp.wait_for_state(lost, "delivered")
        await nurse.wait_for_state(await nurse.send([gp.account], "quatre"), "delivered")
        texts = [one.text for one in nurse.messages()]
        assert texts == ["un", *(f"pendant {n}" for n in range(20)), "deux", "trois", "quatre"]
        assert value(await scrape(world.server), "miss_epoch_number") == 2
    # One epoch and not two: the restore began it, and the start found nothing to add.
    assert "new epoch" not in world.server.log_text()


async def test_a_restore_of_a_moment_ago_is_one_too(world: World) -> None:
    """Nothing was counted since the backup, so that a start alone would not see that it is older."""
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
        await nurse.drained()
    await beside(world.server, "backup", str(world.folder / "b.sqlite"))
    gp = world.reopen(gp)
    async with gp:
        lost = await gp.send([nurse.account], "deux")
        await gp.wait_for_state(lost, "sent")
    await world.server.kill()
    await beside(world.server, "restore", str(world.folder / "b.sqlite"), "--yes")
    await world.server.start()
    assert value(await scrape(world.server), "miss_epoch_number") == 2
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    async with gp, nurse:
        await gp.wait_for_state(lost, "delivered")
        assert [one.text for one in nurse.messages()] == ["un", "deux"]


async def test_restored_twice_and_on_another_machine(world: World) -> None:
    gp, nurse = await world.enrol("gp"), await world.enrol("nurse")
    backup = world.folder / "b.sqlite"
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
    await beside(world.server, "backup", str(backup))
    epochs = []
    for _ in range(2):
        await world.server.stop()
        await beside(world.server, "restore", str(backup), "--yes")
        await world.server.start()
        epochs.append(value(await scrape(world.server), "miss_epoch_number"))
    assert epochs == [2, 3]
    await world.server.stop()
    other = world.folder / "other machine"
    other.mkdir()
    world.server.database = other / "miss.sqlite"
    done = await beside(world.server, "restore", str(backup), "--yes")
    assert "kept" not in done.stdout
    assert (world.server.database.stat().st_mode & 0o777) == 0o600
    await world.server.start()
    gp, nurse = world.reopen(gp), world.reopen(nurse)
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "deux"), "delivered")
        assert [one.text for one in nurse.messages()] == ["un", "deux"]


async def test_a_restore_needs_a_stopped_server_and_a_word(world: World) -> None:
    backup = world.folder / "b.sqlite"
    await beside(world.server, "backup", str(backup))
    asked = command(world.server, "restore", str(backup), check=False)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    done = command(world.server, "restore", str(backup), "--yes", check=False)
    assert done.returncode == 1
    assert "another server runs" in done.stderr
    assert "the database is as it was" in done.stderr
    assert not list(world.folder.glob("*before*"))
    assert not list(world.folder.glob("*restoring*"))
    gp = await world.enrol("gp")
    async with gp:
        await gp.connected()


async def test_the_replaced_database_is_kept_whole(world: World) -> None:
    backup = world.folder / "b.sqlite"
    await beside(world.server, "backup", str(backup))
    await world.enrol("gp")
    await world.server.kill()  # what was written last is in the log beside the file
    done = await beside(world.server, "restore", str(backup), "--yes")
    found = re.search(r"kept as (.*)\.$", done.stdout, re.MULTILINE)
    assert found is not None
    with closing(sqlite3.connect(found.group(1))) as kept:
        assert kept.execute("SELECT count(*) FROM devices").fetchone() == (1,)
        assert kept.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(world.server.database)) as now:
        assert now.execute("SELECT count(*) FROM devices").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["cut", "scribbled", "foreign", "domain", "newer", "missing"])
async def test_what_is_no_backup_is_refused_and_nothing_changes(world: World, damage: str) -> None:
    backup = world.folder / "b.sqlite"
    await beside(world.server, "backup", str(backup))
    await world.server.stop()
    before = world.server.database.read_bytes()
    content = backup.read_bytes()
    domain = DOMAIN
    if damage == "cut":
        backup.write_bytes(content[: len(content) // 2])
    elif damage == "scribbled":
        backup.write_bytes(content[:8192] + b"\xff" * 4096 + content[12288:])
    elif damage == "foreign":
        backup.unlink()
        with closing(sqlite3.connect(backup)) as db:
            db.execute("CREATE TABLE other (x)")
    elif damage == "domain":
        domain = "elsewhere.example"
    elif damage == "newer":
        with closing(sqlite3.connect(backup, isolation_level=None)) as db:
            db.execute("UPDATE settings SET value = '999' WHERE name = 'schema'")
    else:
        backup.unlink()
    done = miss_server(
        *("restore", str(backup), "--yes", "--domain", domain),
        database=world.server.database,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the database is as it was" in done.stderr
    assert world.server.database.read_bytes() == before
    assert not list(world.folder.glob("*restoring*"))


async def test_a_damaged_database_can_be_replaced(world: World) -> None:
    backup = world.folder / "b.sqlite"
    await beside(world.server, "backup", str(backup))
    await world.server.stop()
    world.server.database.write_bytes(b"\0" * 8192)
    await beside(world.server, "restore", str(backup), "--yes")
    await world.server.start()
    assert value(await scrape(world.server), "miss_epoch_number") == 2


async def test_a_backup_spares_what_is_none_and_replaces_an_earlier_one(world: World) -> None:
    target = world.folder / "b.sqlite"
    target.write_text("notes")
    refused = command(world.server, "backup", str(target), check=False)
    assert refused.returncode == 1
    assert target.read_text() == "notes"
    itself = command(world.server, "backup", str(world.server.database), check=False)
    assert "the database itself" in itself.stderr
    target.unlink()
    for _ in range(2):
        await beside(world.server, "backup", str(target))
    assert (target.stat().st_mode & 0o777) == 0o600
    nowhere = command(world.server, "backup", str(world.folder / "no" / "b.sqlite"), check=False)
    assert nowhere.returncode == 1
    assert "No such file" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr
    assert not list(world.folder.glob("*.partial"))
    missing = miss_server(
        *("backup", str(target)), database=Path(world.folder, "mistyped.sqlite"), check=False
    )
    assert "there is no" in missing.stderr


async def test_a_backup_is_neither_the_witness_nor_usable_without_notice(world: World) -> None:
    """Put back by hand, as before there was a command, it is noticed by the witness."""
    backup = world.folder / "b.sqlite"
    await beside(world.server, "backup", str(backup))
    assert not list(world.folder.glob("b.sqlite*witness*"))
    await world.server.stop()
    await world.server.start()
    await world.server.stop()
    shutil.copy(backup, world.server.database)
    await world.server.start()
    assert "new epoch" in world.server.log_text()
