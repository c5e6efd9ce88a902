"""Stores a batch of acknowledgements inside one transaction, and tells the senders.

An ack deletes rows, moves the mailbox's acknowledged position and digest, and brings receipts; a
nack ends one envelope; both change the states of sends. A changed send gets a new tick, which is
its place among the pending statuses of its sender device: coalesced, one a message (rule D5).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from miss_protocol import limits
from miss_protocol.errors import Code
from miss_protocol.identity.receipts import Receipt
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Acknowledged, Acknowledgement
from miss_server.storage.sqlite.rows import select_many
from miss_server.storage.states import (
    RecipientState,
    State,
    decode_states,
    encode_states,
    still_open,
)


@dataclass(frozen=True, slots=True)
class News:
    """What to tell the sender of a message about one recipient device."""

    sender: bytes
    message: bytes
    recipient: bytes
    state: State
    at_ms: int
    signature: bytes = b""


@dataclass(slots=True)
class _Send:
    rowid: int
    sender: bytes
    kind: str
    states: list[RecipientState]
    changed: bool = False

    def advance(self, news: News) -> bool:
        """Take the news; False if that device was never sent this message."""
        for state in self.states:
            if state.device == news.recipient:
                if state.advance(news.state, news.at_ms, news.signature):
                    self.changed = self.changed or (self.kind == "message" and state.worth_telling)
                return True
        return False


def settle(
    db: sqlite3.Connection, batch: Sequence[tuple[Acknowledgement, int]]
) -> list[Acknowledged]:
    """Store `(acknowledgement, now_ms)` pairs; the answers are in the order of `batch`."""
    current = {
        device: (generation, revoked is not None)
        for device, generation, revoked in select_many(
            db,
            "SELECT id, generation, revoked_ms FROM devices WHERE id IN ({keys})",
            sorted({ack.device for ack, _ in batch}),
        )
    }
    news: list[tuple[int, News]] = []
    for index, (ack, now_ms) in enumerate(batch):
        generation, revoked = current.get(ack.device, (0, True))
        # A device that was replaced or removed meanwhile: its late acks change nothing.
        if not revoked and ack.generation in (None, generation):
            news.extend((index, item) for item in _store_one(db, ack, now_ms))
    rung, unknown = tell(db, [item for _, item in news], now_ms=max(now for _, now in batch))
    ring: list[set[DeviceId]] = [set() for _ in batch]
    problems: list[set[Code]] = [set() for _ in batch]
    for place, (index, item) in enumerate(news):
        if item.sender in rung:
            ring[index].add(DeviceId(item.sender))
        if place in unknown and item.signature:
            problems[index].add(Code.RECEIPT_UNKNOWN)
    return [
        Acknowledged(sorted(devices), tuple(codes))
        for devices, codes in zip(ring, problems, strict=True)
    ]


def _store_one(db: sqlite3.Connection, ack: Acknowledgement, now_ms: int) -> list[News]:
    news = [_from_receipt(receipt) for receipt in ack.receipts]
    for position, _reason in ack.nacks:
        row = db.execute(
            "SELECT sender_device, message FROM envelopes"
            " WHERE device = ? AND position = ? AND gap IS NULL",
            (ack.device, position),
        ).fetchone()
        if row is not None:
            news.append(News(row[0], row[1], ack.device, "undecryptable", now_ms))
    if ack.position is not None:
        news.extend(_delete_through(db, ack.device, ack.position, now_ms))
    if ack.tick is not None:
        db.execute(
            "UPDATE sends SET tick = NULL WHERE device = ? AND tick <= ?", (ack.device, ack.tick)
        )
        db.execute(
            "UPDATE devices SET tick_acked = max(tick_acked, ?) WHERE id = ?",
            (ack.tick, ack.device),
        )
    return news


def _from_receipt(receipt: Receipt) -> News:
    return News(
        receipt.sender_device,
        receipt.message,
        receipt.recipient_device,
        receipt.state.value,
        receipt.at_ms,
        receipt.signature,
    )


def _delete_through(
    db: sqlite3.Connection, device: bytes, position: int, now_ms: int
) -> Iterable[News]:
    rows = db.execute(
        "DELETE FROM envelopes WHERE device = ? AND position <= ?"
        " RETURNING position, digest, gap, sender_device, message, length(body) + length(wrap)",
        (device, position),
    ).fetchall()
    if not rows:
        return
    last = max(rows)
    freed = sum(row[5] + ROW_OVERHEAD for row in rows if row[2] is None)
    db.execute(
        "UPDATE mailboxes SET acked = ?, acked_digest = ?, waiting = waiting - ?,"
        " bytes = bytes - ? WHERE device = ?",
        (last[0], last[1], len(rows), freed, device),
    )
    for _, _, gap, sender, message, _ in rows:
        if gap is None:
            # Without a signed receipt this is the server's word alone; a receipt that rides in
            # the same ack stands before it and wins, and a nack ends the matter first.
            yield News(sender, message, device, "delivered", now_ms)


def tell(
    db: sqlite3.Connection, news: Sequence[News], *, now_ms: int
) -> tuple[set[bytes], set[int]]:
    """Apply news to the sends they are about.

    Returns:
        The sender devices that have a new pending status, and the indices of news about sends
        that are not (or no longer) known here.
    """
    unknown: set[int] = set()
    found: dict[tuple[bytes, bytes], list[_Send]] = {}
    for index, item in enumerate(news):
        key = (item.sender, item.message)
        if key not in found:
            found[key] = _find(db, *key)
        # A message encrypted anew for one device stands in a send of its own, under the same id:
        # the newest one that went to this device is meant.
        if not any(_apply(send, item) for send in found[key]):
            unknown.add(index)
    changed = sorted(
        (send for sends in found.values() for send in sends if send.changed),
        key=lambda send: (send.sender, send.rowid),
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
    return {send.sender for send in changed}, unknown


def _apply(send: _Send, item: News) -> bool:
    if item.state == "delivered" and not item.signature:
        # An ack without a receipt does not undo a nack that came with it.
        for state in send.states:
            if state.device == item.recipient and state.state != "waiting":
                return True
    return send.advance(item)


def _find(db: sqlite3.Connection, sender: bytes, message: bytes) -> list[_Send]:
    """The sends of a message, the newest first."""
    return [
        _Send(rowid, sender, kind, decode_states(states))
        for rowid, kind, states in db.execute(
            "SELECT rowid_, kind, states FROM sends WHERE device = ? AND message = ?"
            " ORDER BY sn DESC",
            (sender, message),
        )
    ]


def _new_ticks(db: sqlite3.Connection, changed: list[_Send]) -> list[int]:
    last: dict[bytes, int] = dict(
        select_many(
            db,
            "SELECT id, tick FROM devices WHERE id IN ({keys})",
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
