"""What must hold, checked while a world runs and after it has healed: invariants I1-I14.

The ledger sees everything: what the server writes to its sockets, what the database holds after
each commit, and every device's disk. Each check is named after its invariant; rules B-D of the
delivery rules say how they are meant.

| | must hold | looked for by |
|---|---|---|
| I1 | what was called sent is durable, and what was called delivered is there | `said`, `_every_message_ended` |
| I2 | a row leaves its mailbox by ack or becomes a gap | `_nothing_left_unseen` |
| I3 | positions are contiguous and follow commits | `_mailboxes_add_up`; the devices' `ClientSession` |
| I4 | one row at a position, one showing of a message | `_nothing_left_unseen`, `_shown_once` |
| I5 | one answer to a send, however often it is asked | `said` |
| I6 | no silent gap | `_promises_kept`, `_gaps_and_rows_tile` |
| I7 | in order from a sender device to a recipient device | `shown` |
| I8 | without rings the sweep finds everything | `quiet` |
| I9 | push is decided by a missing ack | nothing: there is no push yet |
| I10 | what cannot be opened holds up nothing | `_poison_blocks_nothing` |
| I11 | a one-time prekey goes out at most once, ever | `prekeys.HandedOut.answered` |
| I12 | a new epoch after a restore, and only then | `committed`, `restarted`; what is lost then by I6, I13 |
| I13 | every message comes to an end that its sender sees | `_every_message_ended`, `World.heal` |
| I14 | a send reaches all its devices or none | `_new_sends_are_whole` |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from miss_protocol import frames as f
from miss_server.storage.messages import ROW_OVERHEAD
from miss_server.storage.states import RecipientState, decode_states
from tests.simulation.disk import Outcome
from tests.simulation.homes import Eyes
from tests.simulation.letters import open_letter
from tests.simulation.phone import Phone

_reply = msgspec.msgpack.Decoder(f.Sent | f.Refused)


class Broken(AssertionError):
    """An invariant does not hold. The text begins with its name."""


@dataclass(frozen=True)
class Held:
    """A row of a mailbox."""

    hash: bytes
    gap: str | None
    sender: bytes
    message: bytes
    size: int


@dataclass
class _Send:
    tick: int | None
    states: bytes


@dataclass
class Ledger:
    """One world's book."""

    phones: Mapping[bytes, Phone]
    promised: dict[tuple[bytes, bytes], set[bytes]] = field(default_factory=dict)
    """(sender device, id): the devices for which the server said `sent`."""
    restores: int = 0
    """How often the database was put back to an older copy."""
    _answers: dict[tuple[bytes, int, int], f.Sent | f.Refused] = field(default_factory=dict)
    _numbers: dict[tuple[bytes, bytes, bytes], int] = field(default_factory=dict)
    """(recipient device, sender device, id): the `sn` that first put it into that mailbox."""
    _last_shown: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    _rows: dict[bytes, dict[int, Held]] = field(default_factory=dict)
    _sends: dict[int, _Send] = field(default_factory=dict)
    _epoch: bytes = b""

    # --- while it runs ----------------------------------------------------------------------------

    def said(self, device: bytes, frame: f.ServerFrame, eyes: Eyes) -> None:
        """The server writes a frame to a device."""
        if not isinstance(frame, f.Sent | f.Refused):
            return
        if isinstance(frame, f.Refused) and frame.code in ("revoked", "sn_reused", "sn_forgotten"):
            return  # not an answer to the send: this device, or its count, is not what it was
        row = eyes.execute(
            "SELECT reply FROM sends WHERE device = ? AND sn = ?", (device, frame.sn)
        ).fetchone()
        if row is None or _reply.decode(row[0]) != frame:
            raise Broken(f"I1 an answer before it is durable: {frame}")
        first = self._answers.setdefault((device, self.restores, frame.sn), frame)
        if first != frame:
            raise Broken(f"I5 two answers to one send: {first} and {frame}")
        self.heard(device, frame)

    def heard(self, device: bytes, frame: f.ServerFrame) -> None:
        """The server's word is out, though perhaps of a process that is gone by now."""
        if isinstance(frame, f.Sent):
            refused = {one.device for one in frame.refused}
            wraps = self.phones[device].sends[frame.id].wraps
            reached = {one.device for one in wraps} - refused
            self.promised.setdefault((device, frame.id), set()).update(reached)

    def restored(self, eyes: Eyes) -> None:
        """The database is an older copy from now on."""
        self.restores += 1
        self._rows = _mailbox_rows(eyes)
        self._sends = _send_rows(eyes)
        held = {
            (device, row.sender, row.message)
            for device, rows in self._rows.items()
            for row in rows.values()
        }
        self._numbers = {name: sn for name, sn in self._numbers.items() if name in held}

    def began(self, eyes: Eyes) -> None:
        """The world begins."""
        self._epoch = _epoch(eyes)

    def committed(self, eyes: Eyes) -> None:
        """A transaction was committed, or its outcome is unknown."""
        rows, sends = _mailbox_rows(eyes), _send_rows(eyes)
        self._nothing_left_unseen(rows, eyes)
        self._mailboxes_add_up(rows, eyes)
        self._new_sends_are_whole(rows, eyes)
        self._statuses_tell_news(sends)
        epoch = _epoch(eyes)
        if epoch != self._epoch and not self.restores:
            raise Broken("I12 a new epoch without a restored database")
        self._rows, self._sends, self._epoch = rows, sends, epoch

    def restarted(self, eyes: Eyes) -> None:
        """A process began on the database as the last one left it."""
        if _epoch(eyes) != self._epoch and not self.restores:
            raise Broken("I12 a new epoch at a start without a restored database")

    def _nothing_left_unseen(self, rows: Mapping[bytes, Mapping[int, Held]], eyes: Eyes) -> None:
        for device, before in self._rows.items():
            now = rows.get(device, {})
            gone = [held for position, held in before.items() if position not in now]
            unseen = [held for held in gone if held.hash not in self.phones[device].safe]
            if unseen and not _is_revoked(eyes, device):
                raise Broken("I2 a row left its mailbox and is not on its device")
            for position, held in before.items():
                if position in now and now[position].hash != held.hash:
                    raise Broken("I4 another row at a position that was given")

    def _mailboxes_add_up(self, rows: Mapping[bytes, Mapping[int, Held]], eyes: Eyes) -> None:
        for device, head, acked, waiting, size in eyes.execute(
            "SELECT m.device, m.head, m.acked, m.waiting, m.bytes FROM mailboxes m"
            " JOIN devices d ON d.id = m.device WHERE d.revoked_ms IS NULL"
        ):
            held = rows.get(device, {})
            if sorted(held) != list(range(acked + 1, head + 1)):
                raise Broken(f"I3 positions {sorted(held)} between {acked} and {head}")
            if waiting != len(held) or size != sum(one.size for one in held.values()):
                raise Broken("floor: a mailbox does not know how full it is")

    def _new_sends_are_whole(self, rows: Mapping[bytes, Mapping[int, Held]], eyes: Eyes) -> None:
        last = max(self._sends, default=0)
        for device, sn, message, blob, states in eyes.execute(
            "SELECT device, sn, message, reply, states FROM sends WHERE rowid_ > ?", (last,)
        ):
            if not isinstance(_reply.decode(blob), f.Sent):
                continue
            for state in decode_states(states):
                if state.state == "waiting":
                    self._numbers.setdefault((state.device, device, message), sn)
                if state.state == "waiting" and not _holds(rows, state, device, message):
                    raise Broken("I14 a send reached some of its devices only")
                if state.state == "refused" and not _ends_in_a_gap(rows.get(state.device, {})):
                    raise Broken("C3 a device without room was not told of it")
                if _is_revoked(eyes, state.device):
                    raise Broken("C1 a message to a device that was revoked")
            self._roster_was_in_force(self.phones[device].sends[message], eyes)

    @staticmethod
    def _roster_was_in_force(send: f.Send, eyes: Eyes) -> None:
        for used in send.rosters:
            version = eyes.execute(
                "SELECT roster_version FROM accounts WHERE address = ?", (used.account,)
            ).fetchone()[0]
            if version != used.version:
                raise Broken("C1 a message by a roster that was not in force")

    def _statuses_tell_news(self, sends: Mapping[int, _Send]) -> None:
        for rowid, now in sends.items():
            before = self._sends.get(rowid)
            if before is None or now.tick is None or now.tick == before.tick:
                continue
            if now.states == before.states:
                raise Broken("D5 a status without news")

    def shown(self, reader: bytes, sender: bytes, id: bytes) -> None:
        """A device shows a message to its user."""
        sn = self._numbers.get((reader, sender, id))
        if sn is None:
            return  # it came before the database was put back, and was saved only now
        last = self._last_shown.get((reader, sender), 0)
        if sn < last and not self.phones[reader].is_copy:
            raise Broken(f"I7 number {sn} of a device after its number {last}")
        self._last_shown[reader, sender] = sn

    # --- at the end -------------------------------------------------------------------------------

    def quiet(self, connected: Iterable[bytes], eyes: Eyes) -> None:
        """Nothing moves any more, some sweeps later: what was rung for in vain is found (I8)."""
        for device in connected:
            self._poison_blocks_nothing(device, eyes)
            rows = eyes.execute("SELECT 1 FROM envelopes WHERE device = ?", (device,)).fetchone()
            status = eyes.execute(
                "SELECT 1 FROM sends s JOIN devices d ON d.id = s.device"
                " WHERE d.id = ? AND s.tick > d.tick_acked",
                (device,),
            ).fetchone()
            if rows or status:
                raise Broken(f"I8 a {'row' if rows else 'status'} waits for a connected device")

    def _poison_blocks_nothing(self, device: bytes, eyes: Eyes) -> None:
        first = eyes.execute(
            "SELECT sender_device, message FROM envelopes WHERE device = ? ORDER BY position LIMIT 1",
            (device,),
        ).fetchone()
        if first is not None and first in self.phones[device].disk.unopened:
            raise Broken("I10 an envelope that cannot be opened holds up what came after it")

    def closed(self, eyes: Eyes) -> None:
        """The world has healed: everybody who may was connected, and nothing moves any more."""
        for phone in self.phones.values():
            self._shown_once(phone)
            self._gaps_and_rows_tile(phone)
            if not phone.over and phone.admitted:
                self._every_message_ended(phone)
        self._promises_kept()
        if not self.restores:
            self._nacks_were_heard(eyes)
            self._receipts_came()

    def _receipts_came(self) -> None:
        """Every phone here gives them in time (only while nobody lost any memory)."""
        if any(phone.is_copy for phone in self.phones.values()):
            return
        if any(phone.unsigned for phone in self.phones.values()):
            raise Broken("D4 a message was called delivered without its receipt")

    def _nacks_were_heard(self, eyes: Eyes) -> None:
        for device, message, blob in eyes.execute("SELECT device, message, states FROM sends"):
            for state in decode_states(blob):
                reader = self.phones[state.device]
                if reader.over or (device, message) not in reader.disk.unopened:
                    continue
                if state.state in ("waiting", "delivered", "read"):
                    raise Broken(f"D3 what could not be opened is called {state.state}")

    def _shown_once(self, phone: Phone) -> None:
        messages = [(sender, message) for sender, _, message in phone.disk.shown]
        if len(messages) != len(set(messages)):
            raise Broken("I4 a message was shown twice")

    @staticmethod
    def _gaps_and_rows_tile(phone: Phone) -> None:
        for _, first, last in phone.disk.gaps:
            if last < first:
                raise Broken("I6 a gap of nothing")

    def _every_message_ended(self, phone: Phone) -> None:
        if phone.disk.drafts:
            raise Broken("I13 a draft that never leaves")
        if phone.unsettled():
            raise Broken("I13 a send that is never answered")
        for message, outcomes in phone.disk.outcomes.items():
            if not phone.is_over(message):
                raise Broken(f"I13 message {message} never came to an end at its sender")
            for device, outcome in outcomes.items():
                reader = self.phones.get(device)
                has = reader is not None and self._has(reader, phone.id, message)
                if outcome.state in ("delivered", "read") and not has:
                    raise Broken(f"I1 message {message} was called delivered and is not there")
                if reader is not None and outcome.account != phone.account:
                    self._truth_was_told(phone, message, outcome, reader, has=has)

    def _truth_was_told(
        self, writer: Phone, message: int, outcome: Outcome, reader: Phone, *, has: bool
    ) -> None:
        """Whether the sender knows what its reader knows (only while nobody lost any memory)."""
        if self.restores or reader.over or reader.is_copy or writer.is_copy:
            return
        if has and outcome.state not in ("delivered", "read"):
            raise Broken(f"D4 message {message} is there and its sender sees {outcome.state}")

    @staticmethod
    def _has(reader: Phone, sender: bytes, message: int) -> bool:
        return bool(reader.over) or any(
            (one.sender, one.message) == (sender, message) for one in reader.disk.seen.values()
        )

    def _promises_kept(self) -> None:
        for (sender, wire), devices in self.promised.items():
            writer = self.phones[sender]
            message = _message_of(writer, wire)
            for device in devices:
                reader = self.phones.get(device)
                if not message or reader is None or reader.over or not reader.admitted:
                    continue
                if writer.over and self.restores:
                    continue  # what the server forgot went with the outbox that had it
                if self._has(reader, sender, message) or (sender, wire) in reader.disk.unopened:
                    continue
                if reader.disk.gaps or reader.disk.restored or self._told(writer, message, device):
                    continue
                raise Broken(f"I6 message {message} was accepted and nobody was told of its loss")

    @staticmethod
    def _told(writer: Phone, message: int, device: bytes) -> bool:
        outcome = writer.disk.outcomes.get(message, {}).get(device)
        return message in writer.disk.failed or (
            outcome is not None and outcome.state not in ("waiting", "delivered", "read")
        )

    def emptied(self, eyes: Eyes) -> None:
        """All times are over and everything was cleaned: the tables are at their floor."""
        gone = {phone.id for phone in self.phones.values() if phone.over or not phone.admitted}
        for device, rows in _mailbox_rows(eyes).items():
            if rows and device not in gone:
                raise Broken(f"floor: {len(rows)} rows still wait")
        for device, blob, still_open, tick in eyes.execute(
            'SELECT device, states, "open", tick FROM sends'
        ):
            phone = self.phones[device]
            waits_for = {one.device for one in decode_states(blob) if one.state == "waiting"}
            if _is_revoked(eyes, device) or (device not in gone and gone.isdisjoint(waits_for)):
                raise Broken(
                    f"floor: a send is kept for ever ({still_open} open, tick {tick},"
                    f" its device {phone.over or 'in use'})"
                )


def _ends_in_a_gap(held: Mapping[int, Held]) -> bool:
    return bool(held) and held[max(held)].gap == "quota"


def _holds(
    rows: Mapping[bytes, Mapping[int, Held]], state: RecipientState, sender: bytes, message: bytes
) -> bool:
    held: Iterable[Held] = rows.get(state.device, {}).values()
    return any((one.sender, one.message) == (sender, message) for one in held)


def _message_of(writer: Phone, wire: bytes) -> int:
    send = writer.sends[wire]
    letter = open_letter(send.body, send.wraps[0].wrap, send.wraps[0].device)
    return writer.disk.wires.get(wire, letter.message if letter else 0)


def _mailbox_rows(eyes: Eyes) -> dict[bytes, dict[int, Held]]:
    rows: dict[bytes, dict[int, Held]] = {}
    for device, position, row_hash, gap, sender, message, size in eyes.execute(
        "SELECT device, position, row_hash, gap, sender_device, message,"
        " length(body) + length(wrap) FROM envelopes"
    ):
        bytes_ = 0 if gap is not None else size + ROW_OVERHEAD
        rows.setdefault(device, {})[position] = Held(row_hash, gap, sender, message, bytes_)
    return rows


def _send_rows(eyes: Eyes) -> dict[int, _Send]:
    return {
        rowid: _Send(tick, states)
        for rowid, tick, states in eyes.execute("SELECT rowid_, tick, states FROM sends")
    }


def _epoch(eyes: Eyes) -> bytes:
    epoch: bytes = eyes.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchone()[0]
    return epoch


def _is_revoked(eyes: Eyes, device: bytes) -> bool:
    row = eyes.execute("SELECT revoked_ms FROM devices WHERE id = ?", (device,)).fetchone()
    return row is None or row[0] is not None
