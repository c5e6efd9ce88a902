"""Lives of a database on PostgreSQL: what is asked at each start of a node, and at each connection,
so that an older copy is noticed before anybody is served from it (rule C6).

**What the database shows by itself.** Its identity is the cluster's system identifier, the timeline of
its log and the database's own number. Recovery to a point in time and the promotion of a standby begin
a new timeline; a dump that is loaded anew is another database. A server kept no promise about what
the other one stored last, so each is a restore.

**What only a witness can show.** A base backup or a snapshot of the disk that is started without
recovery is the same cluster on the same timeline. So each node counts its starts, its claims of
one-time prekeys and its epochs in a row of its own, and keeps what it counted in a file of its state
folder, as `storage.witness` explains for SQLite. Nodes do not wait for one another: a row is locked by
its own node's transactions only.

**Beneath a node that goes on running** a copy may be put in which nothing of that is missing: only
messages. So each batch numbers itself in another row of its node's, within the statement that writes
what changed, and the node keeps in memory the last number that it saw committed. On each new
connection the row must show that number or a later one: a batch whose commit was not answered may
have happened, and is never counted on. A node that finds less writes its witness beyond what stands
in the database, and ends: its next start begins the new epoch. Each node notices for itself, and
tells by the epoch all those for which nothing is missing.

**What may be lost without being noticed here**: what a node wrote since its last `beat`, if no batch
is among it (sessions that began or ended, rosters, codes, prekeys that were uploaded), what other
programs (`miss-server` beside the nodes) wrote in the same time, and the batches of a node that died
within that time. A device that saw more tells by its hello (rule C6).

**A node without its file** (a new node, an emptied folder) is vouched for by another one that was at
work within the last minute, by the database's clock: that one has compared its own. If there is none
and the database had a witness ever, it is taken for an older copy.

**Several nodes that start at once** compare one after the other, under the epoch's lock: the first one
begins the new epoch and notes the identity, the others find it noted.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import BigInteger, Connection, cast, func, select, text

from miss_server.storage import epoch_ids
from miss_server.storage.disk import stop_for_the_disk
from miss_server.storage.messages import NotDurable
from miss_server.storage.schema import settings as table
from miss_server.storage.sql import epochs, settings, witnessed
from miss_server.storage.witness import Damaged, FsyncFailed, Testimony, Witness, is_older

if TYPE_CHECKING:
    import asyncpg

VOUCHED_MS = 60_000
"""How lately another node must have been at work to vouch for one without a witness."""
BEAT_EVERY = 20.0
"""Seconds between two notes that a node is at work."""

_IDENTITY = "identity"
_ALIVE = "alive "
_COUNTED = "witness "
_BATCHES = "batches "

_WHO = (
    "SELECT concat_ws(':', (SELECT system_identifier FROM pg_control_system()),"
    " CASE WHEN pg_is_in_recovery() THEN 'standby'"
    " ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,"
    " (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
_RECOGNISE = (
    f"SELECT ({_WHO}), (SELECT value FROM settings WHERE name = 'epoch'),"  # noqa: S608  # constants
    " (SELECT value FROM settings WHERE name = $1), (SELECT value FROM settings WHERE name = $2)"
)
_CLOCK = select(cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger))
_BEATS = select(table.c.name, table.c.value).where(table.c.name.startswith(_ALIVE))

log = structlog.get_logger()


class Exchanged(Exception):
    """Behind the same address is not the database that this node began with, or an older copy of
    it: the process must end, and begin anew before it serves anybody."""


class Standby(Exception):
    """This server only repeats another one; a node needs the primary."""


class Life:
    """One node's part. `begin` in a transaction, `remember` after its commit, then serve;
    `recognise` on every connection, `remember` after every commit that counts, `beat` now and then.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self.node = node
        self.path = folder / f"{node}.witness"
        self.witness = _COUNTED + node
        """The name of this node's count, for `sql.prekeys.claim` and `sql.epochs.change`."""
        self._alive = _ALIVE + node
        self._batches = _BATCHES + node
        self._begun = self._committed = 0
        """The last batch that was tried, and the last one known to be in the database."""
        self.database_ms = 0
        """The database's clock at the last `beat`."""
        self._identity = ""
        self._file: Witness | None = None
        self._stood: Testimony | None = None
        self._writing = asyncio.Lock()

    def begin(self, connection: Connection, now_ms: int) -> tuple[bool, Testimony]:
        """Compare the database with what is known of it; a new epoch begins if it is an older copy.

        Returns:
            Whether it is, and what to `remember` once this transaction is committed.

        Raises:
            Standby: this is no primary.
            OSError: the witness cannot be read or written.
        """
        epochs.take(connection)
        identity: str = connection.execute(text(_WHO)).scalar_one()
        if ":standby:" in identity:
            raise Standby
        now = witnessed.stands(connection, self.witness)
        after, beyond = epoch_ids.number(now.epoch), now.count
        file = Witness(self.path, settings.secret(connection))
        noted = settings.get(connection, _IDENTITY)
        why = "" if noted in (None, identity.encode()) else "recovered, promoted or loaded anew"
        try:
            seen = file.read()
        except Damaged:
            why = why or "the witness is damaged"
        else:
            if seen is None and not self._is_vouched_for(connection):
                why = why or "the witness is missing"
            elif seen is not None and is_older(now, seen):
                why = why or "the witness saw more"
                after = max(after, epoch_ids.number(seen.epoch))
                beyond = max(beyond, seen.count)
            if seen is None and not why:
                file.write(now)  # else a crash after the commit made it a missing one
        if why:
            log.warning("the database may be an older copy: new epoch", why=why)
            epochs.change(connection, now_ms, after=after, witness=self.witness)
        witnessed.count_up(connection, self.witness, beyond=beyond)
        settings.put(connection, _IDENTITY, identity.encode())
        batches = settings.get(connection, self._batches) or bytes(8)
        settings.put(connection, self._batches, batches)
        self._begun = self._committed = int.from_bytes(batches, "big")
        self._note_alive(connection)
        self._identity, self._file = identity, file
        return bool(why), witnessed.stands(connection, self.witness)

    async def remember(self, now: Testimony) -> None:
        """Write down how far the database has come, before whoever made it come so far is answered.

        Args:
            now: `sql.witnessed.stands` in the transaction that was committed.

        Raises:
            NotDurable: it could not be written; what was taken is lost and is never used twice.
        """
        async with self._writing:
            if self._file is None or (self._stood is not None and _covers(self._stood, now)):
                return
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._file.write, now)
            except FsyncFailed as error:
                stop_for_the_disk(error)
            except OSError as error:
                log.error("witness not written", error=str(error))
                raise NotDurable(str(error)) from error
            self._stood = now

    async def recognise(self, connection: "asyncpg.Connection[Any]") -> None:
        """Make sure that a new connection leads to the database that this life began with.

        Raises:
            Exchanged: it does not.
        """
        if self._stood is None:
            return
        # Before the question: what is committed meanwhile may be missing in the answer.
        stood, committed = self._stood, self._committed
        found = await connection.fetchrow(_RECOGNISE, self.witness, self._batches)
        assert found is not None  # noqa: S101  # a SELECT without FROM has one row
        identity, epoch, count, batches = found
        if identity != self._identity or epoch is None:
            raise Exchanged
        now = Testimony(epoch, int.from_bytes(count or b"", "big"))
        if is_older(now, stood):
            raise Exchanged
        if int.from_bytes(batches or b"", "big") < committed:
            log.error("the database lacks what this node saw committed", batches=committed)
            await self._testify_beyond(now)
            raise Exchanged

    async def _testify_beyond(self, now: Testimony) -> None:
        """Let the next start find a witness that saw more: nothing else shows it what is missing."""
        try:
            await self.remember(Testimony(now.epoch, now.count + 1))
        except NotDurable:
            # Logged; the node must end all the same, and then only a hello can tell.
            return

    def next_batch(self) -> tuple[str, bytes]:
        """The name and the value of the row that the next batch writes with all else."""
        self._begun += 1
        return self._batches, self._begun.to_bytes(8, "big")

    def committed(self, batch: bytes) -> None:
        """The batch of that value, which wrote it, was answered as committed."""
        self._committed = int.from_bytes(batch, "big")

    def beat(self, connection: Connection) -> Testimony:
        """Note that this node is at work, and count that, so that any copy from before is known for
        one whatever it lacks; every `BEAT_EVERY` seconds. `remember` what it returns."""
        self._note_alive(connection)
        witnessed.count_up(connection, self.witness)
        return witnessed.stands(connection, self.witness)

    def _note_alive(self, connection: Connection) -> None:
        self.database_ms = clock = int(connection.execute(_CLOCK).scalar_one())
        settings.put(connection, self._alive, clock.to_bytes(8, "big"))

    def _is_vouched_for(self, connection: Connection) -> bool:
        """Whether another node is at work, or no node ever was."""
        return bool(self.others(connection)) or not connection.execute(_BEATS).first()

    def others(self, connection: Connection) -> list[str]:
        """The other nodes that were at work within `VOUCHED_MS`."""
        clock: int = connection.execute(_CLOCK).scalar_one()
        return [
            name.removeprefix(_ALIVE)
            for name, value in connection.execute(_BEATS)
            if name != self._alive and abs(clock - int.from_bytes(value, "big")) < VOUCHED_MS
        ]


def _covers(known: Testimony, now: Testimony) -> bool:
    """Whether a witness that knows the one has nothing to learn from the other: two commits may be
    told in the other order."""
    return known.count >= now.count and (
        epoch_ids.number(known.epoch) >= epoch_ids.number(now.epoch)
    )
