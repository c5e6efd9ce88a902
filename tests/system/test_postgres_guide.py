"""`server/POSTGRES.md`, pasted block by block, on real clusters with nodes that serve people."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from miss_protocol import frames as f
from miss_server.conditions import Condition, State
from miss_server.findings import Verdict
from miss_server.operating.figures import FiguresKept
from miss_server.operating.watching import ArchiveWatch
from miss_server.relay.clock import SystemClock
from miss_server.storage.postgres.checks import examine
from miss_server.storage.postgres.overview import PostgresOverview
from miss_server.storage.postgres.pool import Options
from tests.support.engines import NOBODY, as_ordinary_user
from tests.support.guides import SERVER, as_pasted
from tests.support.guides import blocks as blocks_of
from tests.support.postgres import (
    PASSWORD,
    PostgresProcess,
    postgres_folder,
    programs,
    running,
)
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import Device, enrolled, now_ms, open_call

GUIDE = SERVER / "POSTGRES.md"
NEW_EPOCH = "the database may be an older copy: new epoch"


def blocks(heading: str) -> list[str]:
    """What can be pasted under a heading."""
    return blocks_of(GUIDE, heading)


@dataclass
class Machine:
    """A machine with PostgreSQL, as the guide's first block says where its things are."""

    postgres: PostgresProcess
    backup: Path
    """A disk that all machines see."""

    @property
    def _surroundings(self) -> str:
        passwords = self.postgres.folder / "passwords"
        passwords.write_text(f"*:*:*:*:{PASSWORD}\n")
        passwords.chmod(0o600)
        os.chown(passwords, NOBODY, NOBODY)
        user = " ".join(as_ordinary_user("KILL"))
        variables = f"PGHOST={self.postgres.folder} PGUSER=postgres PGPASSFILE={passwords}"
        return f"""
            data={self.postgres.data} config={self.config} backup={self.backup}
            port={self.postgres.port}
            pg() {{ {user} env PATH={programs()}:$PATH PGPORT=$port {variables} "$@"; }}
            start() {{ grep -qx auto $config/start.conf && echo '<start>' && read -r _; }}
            stop() {{ echo '<stop>'; read -r _; }}
            cd /
        """

    @property
    def config(self) -> Path:
        """Where Debian has what it keeps outside of the database's folder."""
        return self.postgres.folder / "config"

    def configure(self) -> None:
        """Make that folder, before PostgreSQL's first start."""
        self.config.mkdir()
        (self.config / "start.conf").write_text("auto\n")
        access = self.config / "pg_hba.conf"
        access.write_text(OWN_MACHINE)
        self.postgres.settings["hba_file"] = str(access)

    async def paste(self, block: str, told: str = "", **changed: str) -> str:
        """Have a block run as a terminal would, line by line; none may fail. Returns what it wrote.

        Args:
            told: what it reads.
            changed: variables of the block that are others here.
        """
        block = block.replace("-o postgres", "-o nobody")
        for name, value in changed.items():
            block, count = re.subn(rf"^{name}=.*$", f"{name}={value}", block, flags=re.MULTILINE)
            assert count <= 1, name
        process = await asyncio.create_subprocess_exec(
            *as_pasted(self._surroundings, block),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # without a terminal passwords are read from the input
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(told.encode())
        said = ""
        async for line in process.stdout:
            said += line.decode()
            if line == b"<start>\n":
                await self.postgres.start()
            elif line == b"<stop>\n":
                await self.postgres.stop()
            else:
                continue
            process.stdin.write(b"\n")
        assert await process.wait() == 0, f"{block}\n{said}"
        return said

    async def is_one(self) -> None:
        """Wait until it is a primary."""
        (last,) = [one for one in blocks("Restore") if "pg_is_in_recovery" in one]
        _, ask = last.splitlines()
        while (await self.paste(ask)).strip() != "f":
            pass

    async def waiting(self) -> int:
        """How many messages wait in the database."""
        connection = await self.postgres.connect("miss")
        try:
            count: int = await connection.fetchval("SELECT count(*) FROM envelopes")
        finally:
            await connection.close()
        return count


OWN_MACHINE = """\
local all all scram-sha-256
local replication all scram-sha-256
host all postgres 127.0.0.1/32 scram-sha-256
"""
"""Who comes in before the guide: nobody but this test by TCP, and the nodes not at all."""

DOCKER = """
docker() {
    shift
    case $1 in
    exec) shift 3; pg "$@" ;;
    run) while [ "$1" != database ]; do shift; done; shift; pg env PGDATA=$data sh "$@" ;;
    stop) stop ;;
    up) start ;;
    esac
}
"""
"""The engine's command, without containers."""


@dataclass
class Service:
    """Two nodes, and two people of whom one is away."""

    nodes: list[ServerProcess]
    gp: Device
    nurse: Device

    async def writes(self, messages: int) -> None:
        """Somebody writes to who is not there."""
        async with self.gp.online() as line:
            for _ in range(messages):
                answer = await line.settle(self.gp.send(self.nurse.person))
                assert isinstance(answer, f.Sent), answer

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()

    async def start(self, dsn: str) -> None:
        """Both start on this database, and take it for another than before: the first one that starts
        does, and each that the copy lacks something of."""
        before = self.epochs()
        for node in self.nodes:
            node.dsn = dsn
            await node.start()
        assert self.epochs() > before

    def epochs(self) -> int:
        """How often a node began a new epoch."""
        return sum(node.log_text().count(NEW_EPOCH) for node in self.nodes)


@asynccontextmanager
async def service(folder: Path, dsn: str) -> AsyncIterator[Service]:
    """Nodes that run until the block ends."""
    nodes = [
        ServerProcess(folder / name, folder / f"{name}.log", dsn=dsn) for name in ("one", "two")
    ]
    try:
        for node in nodes:
            await node.start()
        yield Service(nodes, await enrolled(nodes[0]), await enrolled(nodes[1]))
    finally:
        for node in nodes:
            if node.process is not None:
                await node.stop()


@asynccontextmanager
async def new_machine(backup: Path | None = None) -> AsyncIterator[Machine]:
    """A machine whose PostgreSQL is new."""
    async with postgres_folder() as server:
        machine = Machine(server, backup or server.folder / "backup")
        machine.configure()
        async with running(server):
            yield machine


@pytest.fixture
async def primary() -> AsyncIterator[Machine]:
    """A new machine with the role and the database of the guide."""
    async with new_machine() as machine:
        _, database, let_in = blocks("")
        await machine.paste(database, told=f"{PASSWORD}\n" * 2)
        await machine.paste(let_in, nodes="127.0.0.1/32")
        yield machine


@pytest.mark.timeout(300)
async def test_backup_a_trial_and_a_restore_that_lacks_nothing(
    primary: Machine, tmp_path: Path
) -> None:
    server, backup = primary.postgres, primary.backup
    [archive] = blocks("Once: the archive of the log")
    await primary.paste(archive)
    async with service(tmp_path, server.dsn("miss")) as people:
        await people.writes(3)
        nightly, prune = blocks("Every night: a base backup")
        await primary.paste(nightly)
        await people.writes(2)
        await primary.paste(prune)
        [trial] = blocks("Every quarter: try it, in another place")
        said = await primary.paste(trial, **{"try": str(server.folder / "trial")})
        assert re.search(r"accounts *\n-+\n +2\n", said), said
        assert not (server.folder / "trial").exists()
        await people.stop()
        put_back, last_moments, begin = blocks("Restore")
        await primary.paste(put_back)
        await primary.paste(last_moments)
        await primary.paste(begin)
        await primary.is_one()
        await people.start(server.dsn("miss"))
        assert await primary.waiting() == 5
        await handed_over(primary, taken=True)
        assert list((backup / "wal").iterdir())


async def archived(machine: Machine, name: str, content: bytes) -> bool:
    """Whether the command of the guide, as PostgreSQL has it, takes this piece."""
    piece = machine.postgres.folder / "piece"
    piece.write_bytes(content)
    connection = await machine.postgres.connect()
    try:
        command = await connection.fetchval("SHOW archive_command")
    finally:
        await connection.close()
    command = command.replace("%p", str(piece)).replace("%f", name)
    done = await asyncio.create_subprocess_exec("sh", "-c", command, cwd=machine.postgres.data)
    return await done.wait() == 0


async def test_a_piece_of_the_log_that_comes_twice_is_taken_and_another_of_its_name_is_not(
    primary: Machine,
) -> None:
    [archive] = blocks("Once: the archive of the log")
    await primary.paste(archive)
    kept = primary.backup / "wal"
    name, piece = "0000000A000000000000000A", os.urandom(16 << 20)
    (kept / f"{name}.new").write_bytes(b"cut off")
    for _ in range(2):
        assert await archived(primary, name, piece)
        assert (kept / name).read_bytes() == piece
    assert not await archived(primary, name, os.urandom(16 << 20))
    assert (kept / name).read_bytes() == piece
    assert not (kept / f"{name}.new").exists()


async def handed_over(machine: Machine, *, taken: bool) -> None:
    """Have PostgreSQL hand a piece of its log over, and wait until it is taken, or is not."""
    column = "archived_count" if taken else "failed_count"
    ask = f"SELECT {column} FROM pg_stat_archiver"  # noqa: S608
    connection = await machine.postgres.connect("miss")
    try:
        before = await connection.fetchval(ask)
        await connection.execute("CREATE TABLE IF NOT EXISTS something (); SELECT pg_switch_wal()")
        async with asyncio.timeout(60):
            while await connection.fetchval(ask) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # PostgreSQL tells nobody
    finally:
        await connection.close()


async def test_an_archive_that_fails_is_told_by_health_until_it_works(
    primary: Machine, tmp_path: Path
) -> None:
    [archive] = blocks("Once: the archive of the log")
    await primary.paste(archive)
    kept, dsn = primary.backup / "wal", primary.postgres.dsn("miss")

    async def says() -> Condition:
        figures = FiguresKept(PostgresOverview(Options(dsn)), SystemClock())
        return await ArchiveWatch(figures).condition()

    async with service(tmp_path, dsn) as people:
        answer = await open_call(people.nodes[0], "GET", "/health/ready")
        parts = {each["part"]: each for each in answer.json()["parts"]}
        assert (parts["archive"]["state"], parts["archive"]["vital"]) == ("ok", False)
        kept.rename(primary.backup / "away")
        await handed_over(primary, taken=False)
        assert (await says()).state is State.DEGRADED
        (primary.backup / "away").rename(kept)
        await handed_over(primary, taken=True)
        assert (await says()).state is State.OK


DAMAGED = """
eval "undamaged_$(declare -f pg)"
pg() {
    undamaged_pg "$@" || return
    if [ "$1" = pg_basebackup ]; then echo >> $(echo $backup/base/*.new/PG_VERSION); fi
}
"""
"""A base backup is written, and not what was read."""


async def test_a_damaged_base_backup_gets_no_good_name(primary: Machine) -> None:
    [archive] = blocks("Once: the archive of the log")
    await primary.paste(archive)
    nightly, prune = blocks("Every night: a base backup")
    with pytest.raises(AssertionError, match="PG_VERSION"):
        await primary.paste(DAMAGED + nightly, name="2026-11-30-0230")
    [damaged] = (primary.backup / "base").iterdir()
    assert damaged.name.endswith(".new")
    for day in range(10, 20):
        name = f"2026-11-{day}-0230"
        await primary.paste(nightly, name=name)
    await primary.paste(prune)
    kept = sorted(one.name for one in (primary.backup / "base").iterdir())
    assert kept[:-1] == [f"2026-11-{day}-0230" for day in range(13, 20)]
    assert kept[-1] == damaged.name


@pytest.mark.timeout(300)
async def test_a_base_backup_out_of_the_container_and_back(
    primary: Machine, tmp_path: Path
) -> None:
    server, backup = primary.postgres, primary.backup
    backup.mkdir()
    os.chown(backup, NOBODY, NOBODY)
    nightly, put_back = (
        DOCKER + block.replace("/mnt/backup", str(backup))
        for block in blocks("With the containers")
    )
    # There the role of the nodes is the one that the image makes.
    await server.sql("ALTER ROLE miss SUPERUSER")
    async with service(tmp_path, server.dsn("miss")) as people:
        await people.writes(3)
        await primary.paste(nightly)
        await people.writes(2)
        await people.stop()
        [made] = backup.iterdir()
        await primary.paste(put_back.replace("base-2026-11-27.tar.gz", made.name))
        await primary.is_one()
        await people.start(server.dsn("miss"))
        assert await primary.waiting() == 3


async def follow(primary: Machine, standby: Machine) -> None:
    """Let one machine be the other's standby, for which commits wait."""
    ready, fetch, wait_for_it, _ = blocks("A second room: the standby")
    said = await primary.paste(ready, standby="127.0.0.1")
    [password] = re.findall(r"^[0-9a-f]{48}$", said, re.MULTILINE)
    here = f"host=$primary port={primary.postgres.port} "
    fetch = fetch.replace("host=$primary ", here)
    await standby.paste(fetch, told=f"{password}\n", primary="127.0.0.1", nodes="127.0.0.1/32")
    said = await primary.paste(wait_for_it)
    assert re.search(r"room2 +\| streaming", said), said
    await doctor_says(Verdict.OK, primary)


@pytest.mark.timeout(300)
async def test_a_second_room_the_failover_to_it_and_back(primary: Machine, tmp_path: Path) -> None:
    *_, wait_for_it, alone = blocks("A second room: the standby")
    async with (
        new_machine(primary.backup) as standby,
        service(tmp_path, primary.postgres.dsn("miss")) as people,
    ):
        other = standby.postgres
        await follow(primary, standby)
        await primary.postgres.sql("REVOKE pg_read_all_stats FROM miss")
        await doctor_says(Verdict.WARN, primary)
        await primary.postgres.sql("GRANT pg_read_all_stats TO miss")
        await people.writes(3)
        await other.stop()
        await doctor_says(Verdict.BAD, primary)
        await primary.paste(alone)
        await doctor_says(Verdict.WARN, primary)
        await people.writes(1)
        await other.start()
        await primary.paste(wait_for_it)
        await doctor_says(Verdict.OK, primary)
        await people.writes(1)
        await primary.postgres.kill()
        await people.stop()
        stay_off, promote = blocks("Failover")
        await primary.paste(stay_off)
        assert (primary.config / "start.conf").read_text() == "disabled\n"
        await standby.paste(promote)
        await standby.is_one()
        await people.start(other.dsn("miss"))
        assert await standby.waiting() == 5
        await follow(standby, primary)
        assert (primary.config / "start.conf").read_text() == "auto\n"


async def doctor_says(verdict: Verdict, machine: Machine) -> None:
    """Wait until it says so of the standby, to the nodes' own role."""
    dsn, said = machine.postgres.dsn("miss"), None
    async with asyncio.timeout(60):
        while said is not verdict:
            found = await examine(dsn, domain=DOMAIN, connections=8, now_ms=now_ms())
            [said] = [finding.verdict for finding in found if finding.subject == "standby"]
