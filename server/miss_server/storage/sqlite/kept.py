"""Rows that the writer read or wrote in its last transactions, so that the next need not read them.

They are true only while nothing else writes, which is proved for each transaction anew: `fresh`
compares SQLite's `data_version`, which another connection's commit changes, under the write lock,
which lets no other commit until ours is done. The writer hands them from one transaction to the
next only after a COMMIT that succeeded, and never past a job, which may write anything.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from miss_server.storage.settlement.acks import Acks
from miss_server.storage.settlement.meeting import Pair, Row
from miss_server.storage.settlement.news import Telling
from miss_server.storage.sql.meeting_words import SETTLED
from miss_server.storage.sqlite.rows import select_many, select_pairs

ROWS_MAX = 10_000
"""Of each kind: about 3 MiB. Whoever writes within the same seconds fits."""
PAIRS_MAX = 30_000
"""Of those who know each other: about 7 MiB, and forgotten alone."""

_UNSETTLED = (
    "SELECT wanted.device, wanted.what,"
    " mine.owner, mine.peer, mine.first_ms, mine.unanswered, mine.accepted_ms, mine.declined_ms,"
    " mine.blocked_ms, theirs.owner, theirs.peer, theirs.first_ms, theirs.unanswered,"
    " theirs.accepted_ms, theirs.declined_ms, theirs.blocked_ms FROM wanted"
    " LEFT JOIN relations mine ON mine.owner = wanted.device AND mine.peer = wanted.what"
    " LEFT JOIN relations theirs ON theirs.owner = wanted.what AND theirs.peer = wanted.device"
    " WHERE wanted.device IS NOT NULL AND (SETTLED) IS NOT TRUE"
).replace("SETTLED", SETTLED)


class _Device(msgspec.Struct, gc=False):
    id: bytes
    account: str
    sn: int
    generation: int
    revoked_ms: int | None
    tick: int


class _Account(msgspec.Struct):
    row: tuple[str, int, bytes | None, bool, bool]
    devices: list[tuple[bytes, str, int]]


class _Mailbox(msgspec.Struct, gc=False):
    device: bytes
    head: int
    digest: bytes
    waiting: int
    bytes: int


class Kept:
    """The rows of one connection. What is written must be told to `sent`, `acked` and `ticked`."""

    __slots__ = (
        "_accounts",
        "_devices",
        "_mailboxes",
        "_settled",
        "_version",
        "meets",
    )

    def __init__(self, version: int | None = None) -> None:
        self._version = version
        self._devices: dict[bytes, _Device] = {}
        self._accounts: dict[str, _Account] = {}
        self._mailboxes: dict[bytes, _Mailbox] = {}
        self._settled: set[Pair] = set()
        self.meets: bool | None = None
        """Whether the database has the tables of `meeting_tables`; None until one has looked."""

    def fresh(self, db: sqlite3.Connection) -> "Kept":
        """These rows if they are still true, or none; to be called under the write lock."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        kinds = self._devices, self._accounts, self._mailboxes
        full = any(len(rows) > ROWS_MAX for rows in kinds)
        if len(self._settled) > PAIRS_MAX:
            self._settled.clear()
        return Kept(version) if full or version != self._version else self

    # --- reading ----------------------------------------------------------------------------------

    def senders(
        self, db: sqlite3.Connection, ids: Sequence[bytes]
    ) -> list[tuple[bytes, str, int, int, int | None]]:
        """(id, account, sn, generation, revoked_ms) of those that exist."""
        return [
            (one.id, one.account, one.sn, one.generation, one.revoked_ms)
            for one in self._load_devices(db, ids)
        ]

    def sessions(
        self, db: sqlite3.Connection, ids: Sequence[bytes]
    ) -> list[tuple[bytes, int, int | None]]:
        """(id, generation, revoked_ms) of those that exist."""
        return [(one.id, one.generation, one.revoked_ms) for one in self._load_devices(db, ids)]

    def ticks(self, db: sqlite3.Connection, ids: Sequence[bytes]) -> list[tuple[bytes, int]]:
        """(id, tick) of those that exist."""
        return [(one.id, one.tick) for one in self._load_devices(db, ids)]

    def _load_devices(self, db: sqlite3.Connection, ids: Sequence[bytes]) -> list[_Device]:
        kept = self._devices
        if missing := [id for id in ids if id not in kept]:
            for row in select_many(
                db,
                "SELECT id, account, sn, generation, revoked_ms, tick"
                " FROM wanted CROSS JOIN devices ON id = key",
                missing,
            ):
                kept[row[0]] = _Device(*row)
        return [kept[id] for id in ids if id in kept]

    def accounts(
        self, db: sqlite3.Connection, addresses: Sequence[str]
    ) -> tuple[list[tuple[str, int, bytes | None, bool, bool]], list[tuple[bytes, str, int]]]:
        """(address, roster_version, genesis, confirmed, suspended) of those that exist, and
        (id, account, seen_ms) of their devices that are not revoked."""
        kept = self._accounts
        if missing := [address for address in addresses if address not in kept]:
            for row in select_many(
                db,
                "SELECT address, roster_version, genesis, confirmed, suspended"
                " FROM wanted CROSS JOIN accounts ON address = key",
                missing,
            ):
                kept[row[0]] = _Account(row, [])
            for device in select_many(
                db,
                "SELECT id, account, seen_ms FROM wanted CROSS JOIN devices"
                " ON account = key AND revoked_ms IS NULL",
                missing,
            ):
                kept[device[1]].devices.append(device)
        found = [kept[address] for address in addresses if address in kept]
        return [one.row for one in found], [device for one in found for device in one.devices]

    def mailboxes(
        self, db: sqlite3.Connection, devices: Sequence[bytes]
    ) -> list[tuple[bytes, int, bytes, int, int]]:
        """(device, head, digest, waiting, bytes) of those that exist."""
        kept = self._mailboxes
        if missing := [device for device in devices if device not in kept]:
            for row in select_many(
                db,
                "SELECT device, head, digest, waiting, bytes"
                " FROM wanted CROSS JOIN mailboxes ON device = key",
                missing,
            ):
                kept[row[0]] = _Mailbox(*row)
        boxes = [kept[device] for device in devices if device in kept]
        return [(box.device, box.head, box.digest, box.waiting, box.bytes) for box in boxes]

    def unsettled(
        self, db: sqlite3.Connection, pairs: Sequence[Pair]
    ) -> list[tuple[Pair, Row | None, Row | None]]:
        """Those that are not `SETTLED`, with the row each way, if there is one.

        Only jobs unsettle, and past these nothing is kept.
        """
        unknown = [pair for pair in pairs if pair not in self._settled]
        found = [
            (row[:2], row[2:9] if row[2] else None, row[9:] if row[9] else None)
            for row in select_pairs(db, _UNSETTLED, unknown)
        ]
        self._settled.update(unknown)
        self._settled.difference_update(pair for pair, _, _ in found)
        return found

    # --- what was written -------------------------------------------------------------------------

    def sent(
        self,
        numbers: Sequence[tuple[bytes, int]],
        mailboxes: Sequence[tuple[bytes, int, bytes, int, int]],
    ) -> None:
        """Sends were written: the numbers of their senders, and the mailboxes that grew."""
        for device, sn in numbers:
            self._devices[device].sn = sn
        for row in mailboxes:
            self._mailboxes[row[0]] = _Mailbox(*row)

    def acked(self, acks: Acks) -> None:
        """Acknowledgements were written."""
        for device, _, _, rows, freed in acks.mailboxes:
            box = self._mailboxes.get(device)
            if box is not None:
                box.waiting -= rows
                box.bytes -= freed

    def ticked(self, telling: Telling) -> None:
        """News were written."""
        for device, tick in telling.ticks:
            self._devices[device].tick = tick
