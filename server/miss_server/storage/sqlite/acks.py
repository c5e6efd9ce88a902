"""Stores a batch of acknowledgements inside one transaction, and tells the senders.

An ack deletes rows, moves the mailbox's acknowledged position and digest, and brings receipts; a
nack ends one envelope; both change the states of sends. A changed send gets a new tick, which is
its place among the pending statuses of its sender device: coalesced, one a message (rule D5).
"""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code
from miss_protocol.identity.receipts import Receipt
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Acknowledged, Acknowledgement
from miss_server.storage.sqlite.rows import select_many, select_pairs
from miss_server.storage.states import (
    RecipientState,
    State,
    decode_states,
    encode_states,
    for_wire,
    still_open,
)


class News(msgspec.Struct, frozen=True, gc=False):
    """What to tell the sender of a message about one recipient device."""

    sender: bytes
    message: bytes
    recipient: bytes
    state: State
    at_ms: int
    signature: bytes = b""


class _Send(msgspec.Struct):
    rowid: int
    sender: bytes
    sn: int
    message: bytes
    kind: str
    states: list[RecipientState]
    changed: bool = False
    changed_by: int = 0
    """The first piece of news that changed it: ticks are given in that order."""

    def advance(self, news: News, index: int) -> bool:
        """Take the news; False if that device was never sent this message."""
        for state in self.states:
            if state.device == news.recipient:
                told = state.advance(news.state, news.at_ms, news.signature)
                if told and not self.changed and self.kind == "message" and state.worth_telling:
                    self.changed, self.changed_by = True, index
                return True
        return False


class _Acked(msgspec.Struct, gc=False):
    """What an acknowledgement takes off a mailbox."""

    position: int = 0
    digest: bytes = b""
    rows: int = 0
    freed: int = 0

    def take(self, position: int, digest: bytes, freed: int) -> None:
        if position > self.position:
            self.position, self.digest = position, digest
        self.rows += 1
        self.freed += freed


def settle(
    db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]]
) -> list[Acknowledged]:
    """Store `(acknowledgement, now_ms)` pairs; the answers are in the order of `batch`."""
    current = {
        device: (generation, revoked is not None)
        for device, generation, revoked in select_many(
            db,
            "SELECT id, generation, revoked_ms FROM wanted CROSS JOIN devices ON id = key",
            sorted({ack.device for ack, _ in batch}),
        )
    }
    # A device that was replaced or removed meanwhile: its late acks change nothing.
    valid = [
        (index, ack, now_ms)
        for index, (ack, now_ms) in enumerate(batch)
        if ack.device in current
        and not current[ack.device][1]
        and ack.generation in (None, current[ack.device][0])
    ]
    _drop_ticks(db, [ack for _, ack, _ in valid])
    # Signed words and nacks first: they win over the plain fact that a row was acknowledged.
    news = [(index, item) for index, ack, now_ms in valid for item in _told_by(db, ack, now_ms)]
    news.extend(_delete_acknowledged(db, valid))
    told, unknown = (
        tell(db, [item for _, item in news], now_ms=max(now for _, now in batch))
        if news
        else ([], [])
    )
    statuses: list[list[tuple[DeviceId, f.Status]]] = [[] for _ in batch]
    for place, sender, status in told:
        statuses[news[place][0]].append((sender, status))
    unknown_receipts = {news[place][0] for place in unknown if news[place][1].signature}
    stored = {index for index, _, _ in valid}
    return [
        Acknowledged(
            new,
            (Code.RECEIPT_UNKNOWN,) if index in unknown_receipts else (),
            stale=index not in stored,
        )
        for index, new in enumerate(statuses)
    ]


def _drop_ticks(db: sqlite3.Connection, acks: Sequence[Acknowledgement]) -> None:
    """Statuses up to an acknowledged tick are no longer pending. They keep their tick: to take it
    off each would cost as much again as to put it there."""
    ticks = [(ack.tick, ack.device) for ack in acks if ack.tick is not None]
    if ticks:
        ticks.sort(key=lambda pair: pair[1])
        db.executemany("UPDATE devices SET tick_acked = max(tick_acked, ?) WHERE id = ?", ticks)


def _told_by(db: sqlite3.Connection, ack: Acknowledgement, now_ms: int) -> Iterable[News]:
    """What the device itself says: its receipts, and what it cannot open."""
    yield from map(_from_receipt, ack.receipts)
    for position, _reason in ack.nacks:
        row = db.execute(
            "SELECT sender_device, message FROM envelopes"
            " WHERE device = ? AND position = ? AND gap IS NULL",
            (ack.device, position),
        ).fetchone()
        if row is not None:
            yield News(row[0], row[1], ack.device, "undecryptable", now_ms)


def _from_receipt(receipt: Receipt) -> News:
    return News(
        receipt.sender_device,
        receipt.message,
        receipt.recipient_device,
        receipt.state.value,
        receipt.at_ms,
        receipt.signature,
    )


def _delete_acknowledged(
    db: sqlite3.Connection, valid: Sequence[tuple[int, Acknowledgement, int]]
) -> list[tuple[int, News]]:
    """Delete the rows up to each acknowledged position, for all devices together."""
    through: dict[bytes, tuple[int, int, int]] = {}
    for index, ack, now_ms in valid:
        if ack.position is not None and ack.position > through.get(ack.device, (0, 0, 0))[0]:
            through[ack.device] = (ack.position, index, now_ms)
    if not through:
        return []
    news: list[tuple[int, News]] = []
    boxes: dict[bytes, _Acked] = {}
    # RETURNING has no order of its own: the senders' ticks want that of the positions.
    gone = select_pairs(
        db,
        "DELETE FROM envelopes WHERE id IN (SELECT e.id FROM wanted CROSS JOIN envelopes e"
        " ON e.device = wanted.device AND e.position <= wanted.what)"
        " RETURNING device, position, digest, gap, sender_device, message,"
        " length(body) + length(wrap)",
        sorted((device, position) for device, (position, _, _) in through.items()),
    )
    gone.sort()
    for device, position, digest, gap, sender, message, size in gone:
        box = boxes.setdefault(device, _Acked())
        box.take(position, digest, 0 if gap is not None else size + ROW_OVERHEAD)
        if gap is None:
            # Without a signed receipt this is the server's word alone.
            _, index, now_ms = through[device]
            news.append((index, News(sender, message, device, "delivered", now_ms)))
    db.executemany(
        "UPDATE mailboxes SET acked = ?, acked_digest = ?, waiting = waiting - ?,"
        " bytes = bytes - ? WHERE device = ?",
        [(b.position, b.digest, b.rows, b.freed, device) for device, b in sorted(boxes.items())],
    )
    return news


def tell(
    db: sqlite3.Connection, news: Sequence[News], *, now_ms: int
) -> tuple[list[tuple[int, DeviceId, f.Status]], list[int]]:
    """Apply news to the sends they are about.

    Returns:
        The new statuses, each with the index of the news that made it and its sender device; and
        the indices of news about sends that are not (or no longer) known here.
    """
    unknown: list[int] = []
    found = _find(db, {(item.sender, item.message) for item in news})
    for index, item in enumerate(news):
        # A message that was submitted again to a restored server, or encrypted anew for one device,
        # stands in several sends under one id. The news ends it in each, or it would wait for ever.
        taken = [_apply(send, item, index) for send in found[item.sender, item.message]]
        if not any(taken):
            unknown.append(index)
    changed = sorted(
        (send for sends in found.values() for send in sends if send.changed),
        key=lambda send: (send.sender, send.changed_by, send.rowid),
    )
    ticks = _new_ticks(db, changed)
    db.executemany(
        'UPDATE sends SET states = ?, tick = ?, "open" = ?, kept_until_ms = ? WHERE rowid_ = ?',
        [
            (
                encode_states(send.states),
                tick,
                waiting := still_open(send.states),
                None if waiting else now_ms + limits.RESULT_KEPT * 1000,
                send.rowid,
            )
            for send, tick in zip(changed, ticks, strict=True)
        ],
    )
    told = [
        (
            send.changed_by,
            DeviceId(send.sender),
            f.Status(tick, send.message, send.sn, for_wire(send.states)),
        )
        for send, tick in zip(changed, ticks, strict=True)
    ]
    return told, unknown


def _apply(send: _Send, item: News, index: int) -> bool:
    if item.state == "delivered" and not item.signature:
        # An ack without a receipt does not undo a nack that came with it.
        for state in send.states:
            if state.device == item.recipient and state.state != "waiting":
                return True
    return send.advance(item, index)


def _find(
    db: sqlite3.Connection, wanted: set[tuple[bytes, bytes]]
) -> dict[tuple[bytes, bytes], list[_Send]]:
    """The sends of each (sender device, message), the newest first."""
    found: dict[tuple[bytes, bytes], list[_Send]] = {key: [] for key in wanted}
    for rowid, sender, sn, message, kind, states in select_pairs(
        db,
        "SELECT s.rowid_, s.device, s.sn, s.message, s.kind, s.states"
        " FROM wanted CROSS JOIN sends s"
        " ON s.device = wanted.device AND s.message = wanted.what",
        sorted(wanted),
    ):
        found[sender, message].append(
            _Send(rowid, sender, sn, message, kind, decode_states(states))
        )
    for sends in found.values():
        sends.sort(key=lambda send: -send.rowid)
    return found


def _new_ticks(db: sqlite3.Connection, changed: list[_Send]) -> list[int]:
    last: dict[bytes, int] = dict(
        select_many(
            db,
            "SELECT id, tick FROM wanted CROSS JOIN devices ON id = key",
            sorted({send.sender for send in changed}),
        )
    )
    ticks: list[int] = []
    for send in changed:
        last[send.sender] += 1
        ticks.append(last[send.sender])
    db.executemany(
        "UPDATE devices SET tick = ? WHERE id = ?",
        [(tick, device) for device, tick in sorted(last.items())],
    )
    return ticks
