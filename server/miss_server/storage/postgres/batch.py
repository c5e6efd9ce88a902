"""One transaction for many sends, acknowledgements and sessions, in the order of rule C1.

Lock the accounts that are written to, so that their devices stay as they are; claim and lock every
device whose counts may move; then every mailbox; each kind sorted. Only then, in new statements,
read what is checked, decide, and write all that changed at once. What is locked is
kept in memory between the steps, so each row is read and written once a batch, whatever the number
of messages that moved it.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    Settled,
    Submission,
)
from miss_server.storage.postgres import meeting, sessions
from miss_server.storage.postgres.pool import Connection
from miss_server.storage.postgres.trouble import Crossed
from miss_server.storage.settlement.acks import Acks
from miss_server.storage.settlement.meeting import FirstContacts, Pair
from miss_server.storage.settlement.meeting import Row as Relation
from miss_server.storage.settlement.news import Telling
from miss_server.storage.settlement.sends import Sends

# One after the other, whatever the planner would like: each part counts the rows of the one before.
# A row that was waited for is seen as it is now, one that came meanwhile is not: see `Unlocked`.
_LOCK = (
    "WITH a AS MATERIALIZED (SELECT address FROM accounts WHERE address = ANY($1::text[])"
    " ORDER BY address FOR SHARE),"
    " d AS MATERIALIZED (SELECT id, account, generation, revoked_ms, sn, tick, tick_acked, seen_ms"
    " FROM devices WHERE id = ANY($2::bytea[]) AND (SELECT count(*) FROM a) >= 0"
    " ORDER BY id FOR NO KEY UPDATE),"
    " m AS MATERIALIZED (SELECT device, head, digest, acked, acked_digest, waiting, bytes"
    " FROM mailboxes WHERE device = ANY($3::bytea[]) AND (SELECT count(*) FROM d) >= 0"
    " ORDER BY device FOR NO KEY UPDATE)"
    " SELECT id, account, generation, revoked_ms, sn, tick, tick_acked, seen_ms,"
    " NULL::bytea, NULL::bytea FROM d"
    " UNION ALL SELECT device, NULL, head, acked, waiting, bytes, NULL, NULL,"
    " digest, acked_digest FROM m"
)
_LOCK_LATE = (
    "SELECT id, account, generation, revoked_ms, sn, tick, tick_acked, seen_ms FROM devices"
    " WHERE id = ANY($1::bytea[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
)
_READ_NACKED = (
    "SELECT e.device, e.position, e.sender_device, e.message"
    " FROM unnest($1::bytea[], $2::bigint[]) AS w(device, position)"
    " JOIN envelopes e ON e.device = w.device AND e.position = w.position WHERE e.gap IS NULL"
)
_READ_SENDS = (
    "SELECT s.rowid_, s.device, s.sn, s.message, s.kind, s.states"
    " FROM unnest($1::bytea[], $2::bytea[]) AS w(device, message)"
    " JOIN sends s ON s.device = w.device AND s.message = w.message"
)
# What nearly every batch asks once its rows are locked. The three parts are about different tables,
# so it does not matter that none sees what another one changes.
_DELETE_AND_READ = (
    "WITH gone AS (DELETE FROM envelopes e WHERE e.ctid = ANY(ARRAY(SELECT found.ctid"
    " FROM unnest($1::bytea[], $2::bigint[]) AS w(device, position) CROSS JOIN LATERAL"
    " (SELECT o.ctid FROM envelopes o WHERE o.device = w.device AND o.position <= w.position"
    " OFFSET 0) AS found))"
    " RETURNING e.device, e.position, e.digest, e.gap, e.sender_device, e.message,"
    " octet_length(e.body) + octet_length(e.wrap) AS size)"
    " SELECT 0, device, position, digest, gap, sender_device, message, size::bigint,"
    " NULL::boolean, NULL::boolean FROM gone"
    " UNION ALL SELECT 1, s.device, s.sn, s.states, s.kind, NULL, s.message, s.rowid_, NULL, NULL"
    " FROM unnest($3::bytea[], $4::bytea[]) AS w(device, message) CROSS JOIN LATERAL"
    " (SELECT * FROM sends o WHERE o.device = w.device AND o.message = w.message OFFSET 0) AS s"
    " UNION ALL SELECT 2, d.id, a.roster_version, a.genesis, a.address, NULL, NULL, d.seen_ms,"
    " a.confirmed, a.suspended"
    " FROM unnest($5::text[]) AS w(account) JOIN accounts a ON a.address = w.account"
    " LEFT JOIN devices d ON d.account = a.address AND d.revoked_ms IS NULL"
)
# The same with whom the senders know: a fourth part, in a database that has it.
_AND_RELATIONS = _DELETE_AND_READ + meeting.PART
# The same for a batch of sends alone: at little load most are, and a third of it is a third of its cost.
_READ_ACCOUNTS = (
    "SELECT 2, d.id, a.roster_version, a.genesis, a.address, NULL::bytea, NULL::bytea, d.seen_ms,"
    " a.confirmed, a.suspended"
    " FROM unnest($1::text[]) AS w(account) JOIN accounts a ON a.address = w.account"
    " LEFT JOIN devices d ON d.account = a.address AND d.revoked_ms IS NULL"
)
_ACCOUNTS_AND_RELATIONS = _READ_ACCOUNTS + meeting.PART.replace("$6", "$2").replace("$7", "$3")
_READ_EARLIER = (
    "SELECT s.device, s.sn, s.fingerprint, s.reply"
    " FROM unnest($1::bytea[], $2::bigint[]) AS w(device, sn)"
    " JOIN sends s ON s.device = w.device AND s.sn = w.sn"
)
_READ_ENDS = (
    "SELECT e.device, e.position, e.gap"
    " FROM unnest($1::bytea[], $2::bigint[]) AS w(device, position)"
    " JOIN envelopes e ON e.device = w.device AND e.position = w.position"
)
_WRITE_DEVICES = (
    "UPDATE devices d SET sn = w.sn, tick = w.tick, tick_acked = w.tick_acked"
    " FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])"
    " AS w(id, sn, tick, tick_acked) WHERE d.id = w.id"
)
_WRITE_MAILBOXES = (
    "UPDATE mailboxes m SET head = w.head, digest = w.digest, acked = w.acked,"
    " acked_digest = w.acked_digest, waiting = w.waiting, bytes = w.bytes"
    " FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[],"
    " $6::integer[], $7::bigint[])"
    " AS w(device, head, digest, acked, acked_digest, waiting, bytes) WHERE m.device = w.device"
)
_WRITE_ENVELOPES = (
    'INSERT INTO envelopes (device, position, row_hash, digest, gap, "count", sender_account,'
    " sender_device, message, body, wrap, kind, urgency, at_ms, expires_ms)"
    " SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[],"
    " $6::integer[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[], $12::text[],"
    " $13::text[], $14::bigint[], $15::bigint[])"
)
_WRITE_GAPS = (
    'UPDATE envelopes e SET "count" = e."count" + w.more'
    " FROM unnest($1::bytea[], $2::bigint[], $3::integer[]) AS w(device, position, more)"
    " WHERE e.device = w.device AND e.position = w.position"
)
_WRITE_RESULTS = (
    "INSERT INTO sends (device, sn, message, fingerprint, reply, states, kind, open, kept_until_ms)"
    " SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[],"
    " $6::bytea[], $7::text[], $8::integer[], $9::bigint[])"
)
_WRITE_TOLD = (
    "UPDATE sends s SET states = w.states, tick = w.tick, open = w.open,"
    " kept_until_ms = w.kept_until_ms"
    " FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::integer[], $5::bigint[])"
    " AS w(rowid_, states, tick, open, kept_until_ms) WHERE s.rowid_ = w.rowid_"
)
# A node's last batch (`lives`). Two nodes of one name, which may meet for moments, take nothing back.
_WRITE_NUMBER = (
    "UPDATE settings s SET value = greatest(s.value, w.value)"
    " FROM unnest($1::text[], $2::bytea[]) AS w(name, value) WHERE s.name = w.name"
)
_PARAMETER = re.compile(r"\$(\d+)")


class Device(msgspec.Struct, gc=False):
    """A locked row of `devices`; what a batch may change of it."""

    account: str
    generation: int
    revoked_ms: int | None
    sn: int
    tick: int
    tick_acked: int
    seen_ms: int
    changed: bool = False
    """Its number or ticks: what else a session changes is written by `sessions`."""


class _Mailbox(msgspec.Struct, gc=False):
    head: int
    digest: bytes
    acked: int
    acked_digest: bytes
    waiting: int
    bytes: int
    changed: bool = False


class Unlocked(Crossed):
    """Rows turned out to be needed that were not locked in their turn: `devices`."""

    def __init__(self, devices: Iterable[bytes] = ()) -> None:
        super().__init__("rows came into play after the locks")
        self.devices = frozenset(devices)


class Batch:
    """What is settled together. Call `run` inside a transaction, then read the answers."""

    def __init__(
        self,
        db: Connection,
        visits: Sequence[sessions.Visit],
        acks: Sequence[tuple[Acknowledgement, int]],
        sends: Sequence[tuple[Submission, int]],
        also: Iterable[bytes] = (),
        number: tuple[str, bytes] | None = None,
        node: str | None = None,
        first_contacts: FirstContacts = FirstContacts(),  # noqa: B008  # frozen
        ground: meeting.Ground | None = None,
    ) -> None:
        self._number = number
        self._node = node
        self.numbered = False
        """Whether the number was written: only with something that changed."""
        self._db = db
        self._visits = visits
        self._acks = Acks(acks)
        self._named = {used.account for submission, _ in sends for used in submission.send.rosters}
        self._sends = Sends(sends, first_contacts)
        self._ground = meeting.Ground() if ground is None else ground
        self._now_ms = max((now_ms for _, now_ms in sends), default=0)
        self._receipts = {
            (receipt.sender_device, receipt.message) for ack, _ in acks for receipt in ack.receipts
        }
        # Some too many if anything is late or repeated: that shows once the devices are locked.
        self._boxes: set[bytes] = {ack.device for ack, _ in acks if ack.position is not None}
        self._boxes.update(wrap.device for one, _ in sends for wrap in one.send.wraps)
        self._also = also
        self._devices: dict[bytes, Device] = {}
        self._mailboxes: dict[bytes, _Mailbox] = {}
        self._gone: list[Any] = []
        self._told: list[Any] = []
        """Sends that receipts name."""
        self._accounts: dict[str, tuple[Any, ...]] = {}
        self._enrolled: list[tuple[bytes, str, int]] = []
        """The devices of these accounts."""
        self._telling: Telling | None = None
        self.visited: list[sessions.Outcome] = []
        self.acknowledged: list[Acknowledged] = []
        self.settled: list[Settled] = []

    async def run(self) -> None:
        """Lock, check, decide, write; nothing is committed yet.

        Raises:
            Crossed: repeat it in a new transaction, with `Unlocked.devices` as `also`.
            sessions.Alone: repeat it without that visit, after the visit had one of its own.
        """
        if self._visits:
            await sessions.hold_epoch(self._db)
        await self._lock()
        if self._visits:
            self.visited = await sessions.settle(self._db, self._visits, self._devices, self._node)
        devices = self._devices.items()
        self._acks.admit((id_, one.generation, one.revoked_ms) for id_, one in devices)
        self._sends.claim(
            (id_, one.account, one.sn, one.generation, one.revoked_ms) for id_, one in devices
        )
        if self._sends.meeting.pairs and not await self._ground.is_there(self._db):
            self._sends.meeting.turn_off()
        nacked = await self._read(_READ_NACKED, self._acks.nacked)
        await self._delete_and_read()
        self._take_acks(nacked)
        if self._telling is not None:
            await self._tell(self._telling)
        self.acknowledged = self._acks.answer(self._telling)
        if self._sends.senders:
            await self._check_sends()
        await self._write()

    # --- lock -------------------------------------------------------------------------------------

    async def _lock(self) -> None:
        devices: set[bytes] = {visit.device for visit, _ in self._visits}
        devices.update(self._acks.devices, self._sends.senders, self._also)
        devices.update(sender for sender, _ in self._receipts)
        for id_, account, *rest, digest, acked_digest in await self._db.fetch(
            _LOCK, sorted(self._named), sorted(devices), sorted(self._boxes)
        ):
            if account is not None:
                self._devices[id_] = Device(account, *rest)
            else:
                head, acked, waiting, size, *_ = rest
                self._mailboxes[id_] = _Mailbox(head, digest, acked, acked_digest, waiting, size)

    async def _delete_and_read(self) -> None:
        acked, receipts, accounts = self._acks.acked, sorted(self._receipts), self._sends.accounts
        if not (acked or receipts or accounts):
            return
        pairs, unsettled = self._sends.meeting.pairs, list[tuple[Pair, Relation, Relation]]()
        statement, more = _DELETE_AND_READ, tuple[Sequence[Any], ...]()
        alone = not (acked or receipts)
        if pairs:
            statement, more = _AND_RELATIONS, tuple(_columns(pairs))
        if alone:
            statement = _ACCOUNTS_AND_RELATIONS if pairs else _READ_ACCOUNTS
        before = () if alone else (*_columns(acked), *_columns(receipts))
        for part, id_, number, some, word, sender, message, count, *flags in await self._db.fetch(
            statement, *before, accounts, *more
        ):
            if part == 0:
                self._gone.append((id_, number, some, word, sender, message, count))
            elif part == 1:
                self._told.append((count, id_, number, message, word, some))
            elif part == 3:
                unsettled.append(meeting.told(pairs[number - 1], count))
            else:
                self._accounts[word] = (word, number, some, *flags)
                if id_ is not None:
                    held = self._devices.get(id_)
                    seen = count if held is None else held.seen_ms
                    self._enrolled.append((id_, word, seen))
        self._sends.meeting.see(unsettled)

    # --- acknowledgements -------------------------------------------------------------------------

    def _take_acks(self, nacked: Sequence[Any]) -> None:
        for id_, tick in self._acks.ticks:
            device = self._devices[id_]
            if tick > device.tick_acked:
                device.tick_acked, device.changed = tick, True
        self._telling = self._acks.take(nacked, self._gone)
        for id_, position, digest, rows, freed in self._acks.mailboxes:
            box = self._mailboxes[id_]
            box.acked, box.acked_digest, box.changed = position, digest, True
            box.waiting -= rows
            box.bytes -= freed

    async def _tell(self, telling: Telling) -> None:
        await self._lock_late({sender for sender, _ in telling.wanted})
        wanted = set(telling.wanted)
        unread = await self._read(_READ_SENDS, sorted(wanted - self._receipts))
        telling.apply([*(send for send in self._told if (send[1], send[3]) in wanted), *unread])
        telling.number((id_, self._devices[id_].tick) for id_ in telling.senders)
        for id_, tick in telling.ticks:
            device = self._devices[id_]
            device.tick, device.changed = tick, True

    async def _lock_late(self, senders: set[bytes]) -> None:
        """Lock senders whom no receipt named: out of their turn, so without waiting for them."""
        late = sorted(senders - self._devices.keys() - set(self._also))
        if not late:
            return
        await self._db.execute("SAVEPOINT late")
        try:
            for id_, *rest in await self._db.fetch(_LOCK_LATE, late):
                self._devices[id_] = Device(*rest)
            missing = [id_ for id_ in late if id_ not in self._devices]
        finally:
            await self._db.execute("RELEASE late")
        if missing:
            # Held by another node, or gone for good: the next time they are locked in their turn.
            raise Unlocked(missing)

    # --- sends ------------------------------------------------------------------------------------

    async def _check_sends(self) -> None:
        sends = self._sends
        wrapped = set(sends.recipients)
        if any(id_ in wrapped and id_ not in self._mailboxes for id_, _, _ in self._enrolled):
            raise Unlocked  # a device that was added between the locks and this look
        sends.see(
            self._accounts.values(),
            self._enrolled,
            (
                (id_, box.head, box.digest, box.waiting, box.bytes)
                for id_, box in self._mailboxes.items()
                if id_ in wrapped
            ),
        )
        await meeting.load_writers(self._db, sends.meeting, self._now_ms)
        earlier = await self._read(_READ_EARLIER, sends.earlier)
        self.settled = sends.decide(earlier, await self._read(_READ_ENDS, sends.ends))
        for id_, sn in sends.numbers:
            device = self._devices[id_]
            device.sn, device.changed = sn, True
        for id_, head, digest, waiting, size in sends.mailboxes:
            box = self._mailboxes[id_]
            box.head, box.digest, box.waiting, box.bytes = head, digest, waiting, size
            box.changed = True

    # --- write ------------------------------------------------------------------------------------

    async def _write(self) -> None:
        devices = [
            (id_, one.sn, one.tick, one.tick_acked)
            for id_, one in self._devices.items()
            if one.changed
        ]
        mailboxes = [
            (id_, b.head, b.digest, b.acked, b.acked_digest, b.waiting, b.bytes)
            for id_, b in self._mailboxes.items()
            if b.changed
        ]
        writes: list[tuple[str, Sequence[tuple[Any, ...]]]] = [
            (_WRITE_DEVICES, devices),
            (_WRITE_MAILBOXES, mailboxes),
            (_WRITE_TOLD, () if self._telling is None else self._telling.sends),
            (_WRITE_ENVELOPES, self._sends.envelopes),
            (_WRITE_RESULTS, self._sends.results),
            (meeting.KEEP, self._sends.meeting.relations),
            (meeting.SILENCE, self._sends.silenced),
        ]
        some = [(statement, rows) for statement, rows in writes if rows]
        if some:
            if self._number is not None:
                some.append((_WRITE_NUMBER, [self._number]))
                self.numbered = True
            # They are about different rows, so their order does not matter and one way to
            # PostgreSQL and back is enough for all.
            values = [column for _, rows in some for column in zip(*rows, strict=True)]
            await self._db.execute(_together(*(statement for statement, _ in some)), *values)
        if gaps := self._sends.gaps:
            await self._db.execute(_WRITE_GAPS, *zip(*gaps, strict=True))

    async def _read(self, statement: str, keys: Sequence[tuple[Any, ...]]) -> list[Any]:
        return await self._db.fetch(statement, *_columns(keys)) if keys else []


def _columns(keys: Sequence[tuple[Any, ...]]) -> Iterable[Sequence[Any]]:
    """Pairs as two arrays, empty ones for none."""
    return zip(*keys, strict=True) if keys else ((), ())


@lru_cache(maxsize=32)
def _together(*statements: str) -> str:
    """One statement that does what several do, with their parameters one after the other."""
    parts: list[str] = []
    before = 0
    for number, statement in enumerate(statements):
        own = [int(found) for found in _PARAMETER.findall(statement)]
        parts.append(f"part_{number} AS ({_moved(statement, before)})")
        before += max(own)
    return f"WITH {', '.join(parts)} SELECT 1"


def _moved(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement)
