"""A model device: the real `ClientSession`, and the order of saving that spec 03 §3 prescribes.

It does what `miss_client` does (`outbox`, `inbox`, `transport`, `upkeep`, `fetching`), without
encryption and without waiting: each method is one step between two points at which the process
may die. `Disk` is changed only where the reference client has a transaction.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

import msgspec
from msgspec import UNSET

from miss_protocol import api, limits
from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import client_codec
from miss_protocol.digest import envelope_hash, roll
from miss_protocol.errors import CloseCode, Code, Malformed, RemoteError, Retry, Untrusted, code_of
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt, verify_receipt
from miss_protocol.identity.roster import Roster, decode, verify_chain
from miss_protocol.ids import AccountAddress, DeviceId, MessageId
from tests.simulation.cast import DOMAIN, Cast, Member
from tests.simulation.disk import Disk, Draft, Entry, Outcome, Seen
from tests.simulation.letters import Letter, open_letter, seal, wrap
from tests.simulation.node import Socket

TRIES_MAX = 8
RECEIPTS_AT_ONCE = 8
"""Fewer than the protocol allows, so that several acks are common."""


class ServerFault(AssertionError):
    """The server did what an honest client must take for a broken or lying server."""


class Dies(Enum):
    """Where the process ends while it works on what it read."""

    NOT = 0
    BEFORE_SAVING = 1
    BETWEEN = 2
    """After the first event's transaction, before the others."""
    AFTER_SAVING = 3
    """Everything is saved and nothing of it was told to the server."""


class Phone:
    """One device. `over` says why it may not be used any more."""

    def __init__(self, member: Member, cast: Cast, now_ms: Callable[[], int], seed: int) -> None:
        self.member = member
        self._cast = cast
        self._now_ms = now_ms
        self._random = random.Random(seed)
        self.disk = Disk()
        self.over = ""
        self.on_shown: Callable[[bytes, bytes], None] = lambda sender, id: None
        """For the ledger: called with the sender device and the signed id of what is shown."""
        self.sends: dict[bytes, f.Send] = {}
        """For the ledger: every send by its id."""
        self.safe: set[bytes] = set()
        """For the ledger: the hash of every row that was ever saved here."""
        self.life = 0
        """Which start of its process this is: an answer to an earlier one is heard by nobody."""
        self.server_lost_memory = False
        """Whether the database was ever put back."""
        self.is_copy = False
        """Its disk was put back to an older copy: the server must find it out."""
        self.admitted = True
        """False while the server does not know this device: a restored one may yet learn of it."""
        self.wake()

    def wake(self) -> None:
        """The process starts: everything but the disk is gone."""
        self.life += 1
        self.socket: Socket | None = None
        self.session = ClientSession(client_codec(), position=0, digest=bytes(32))
        self.welcomed = False
        self._greeted_sn = 0
        self.held_until = 0
        self.one_by_one = False
        self.wanted: list[AccountAddress] = []
        self.lost_rosters: list[Roster] = []
        self.fetched_tick: int | None = None
        self._on_their_way: dict[int, tuple[list[Receipt], list[f.Nack]]] = {}
        self._next_ref = 1

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.member.id

    @property
    def account(self) -> AccountAddress:
        """Whose device it is."""
        return self.member.account

    @property
    def progress(self) -> tuple[object, ...]:
        """Changes with everything that brings this device nearer to rest."""
        disk = self.disk
        states = [o.state for some in disk.outcomes.values() for o in some.values()]
        counts = (disk.position, disk.epoch, disk.sn, disk.settled, len(disk.shown))
        return (*counts, len(disk.drafts), len(disk.entries), len(disk.owed), states, self.over)

    def learn(self, roster: Roster) -> None:
        """Keep a verified roster."""
        self.disk.rosters[roster.account] = roster
        if roster.account == self.account:
            self.disk.chain[roster.version] = roster

    def end(self, why: str) -> None:
        """The user is told that this device is over."""
        self.hang_up()
        self.over = why

    # --- connection -------------------------------------------------------------------------------

    def dial(self, socket: Socket) -> None:
        """Begin a connection; an older one of this process is given up."""
        self.hang_up()
        self.socket = socket
        self.session = ClientSession(
            client_codec(), position=self.disk.position, digest=self.disk.digest
        )
        self.welcomed = False
        self.held_until = 0
        self._on_their_way.clear()

    def hang_up(self) -> None:
        """This end of the connection is gone; what was sent may still arrive."""
        if self.socket is not None:
            self.socket.client_gone = True
            self.socket.down.clear()
        self.socket = None
        self.welcomed = False
        self.session.closed()

    def read(self, dies: Dies) -> None:
        """Take the next message of the socket."""
        assert self.socket is not None
        message = self.socket.down.popleft()
        if isinstance(message, CloseCode):
            self._closed(message)
            return
        try:
            events = self.session.receive(message)
        except Malformed as error:
            raise ServerFault(f"broke the protocol: {error}") from None
        if dies is Dies.BEFORE_SAVING:
            self._die()
            return
        for number, event in enumerate(self._joined(events)):
            if dies is Dies.BETWEEN and number == 1:
                self._die()
                return
            if self.socket is None:
                return
            self._act(event)
        if dies is Dies.AFTER_SAVING:
            self._die()
            return
        self.flush()

    def _die(self) -> None:
        self.hang_up()
        self.wake()

    @staticmethod
    def _joined(events: Sequence[s.Event]) -> list[s.Event | list[s.Delivered | s.GapSeen]]:
        """Neighbouring rows are saved together, as the reference client does."""
        joined: list[s.Event | list[s.Delivered | s.GapSeen]] = []
        for event in events:
            if isinstance(event, s.Delivered | s.GapSeen):
                if joined and isinstance(joined[-1], list) and len(joined[-1]) < 3:
                    joined[-1].append(event)
                else:
                    joined.append([event])
            else:
                joined.append(event)
        return joined

    def _closed(self, code: CloseCode) -> None:
        self.hang_up()
        if code is CloseCode.REVOKED:
            self.over = "revoked"
        elif code is CloseCode.ROLLED_BACK:
            self.over = "rolled back"
        elif code is CloseCode.AUTH:
            self.admitted = False
        elif not code.reconnect and code is not CloseCode.REPLACED:
            raise ServerFault(f"ended by {code.name}")

    def flush(self) -> None:
        """Write what is due."""
        if self.socket is not None:
            self.socket.up.extend(self.session.data_to_send())

    def _act(self, event: s.Event | list[s.Delivered | s.GapSeen]) -> None:
        match event:
            case list():
                self._save(event)
                self._ack(self.disk.position)
            case s.Challenged(challenge):
                self._greet(challenge)
            case s.Welcomed(welcome):
                self._welcome(welcome)
            case s.Settled(reply):
                self.settle(reply)
            case s.RetryWanted(reply):
                self.held_until = self._now_ms() + round(reply.retry_after * 1000)
            case s.StatusChanged(status):
                self.status(status)
                self.session.ack(f.Ack(tick=status.tick))
            case s.AckStored(ref):
                self._paid(*self._on_their_way.pop(ref, ([], [])))
            case s.ErrorTold(error):
                self._told(error)
            case s.CaughtUp():
                self.forget_expired()
            case s.Leaving():
                pass

    def _greet(self, challenge: f.Challenge) -> None:
        disk = self.disk
        if (disk.position, disk.digest) != (self.session.position, self.session.digest):
            self.hang_up()  # the other process went on meanwhile: begin from what it saved
            return
        self._greeted_sn = disk.sn
        signature = sign_login(
            self.member.key,
            domain=DOMAIN,
            nonce=challenge.nonce,
            device=self.id,
            subprotocol=f.MSGPACK,
        )
        self.session.hello(
            f.Hello(
                self.id,
                signature,
                f.App("model", "1", "none"),
                disk.position,
                disk.digest,
                disk.sn,
                disk.epoch,
                self._own_version,
                settled=disk.settled,
            )
        )

    @property
    def _own_version(self) -> int:
        own = self.disk.rosters.get(self.account)
        return own.version if own is not None else 0

    def _welcome(self, welcome: f.Welcome) -> None:
        if welcome.sn > self.disk.sn:
            self.end("rolled back")
            return
        restored = welcome.restored is not UNSET
        if restored and self.disk.sn != self._greeted_sn:
            self.hang_up()  # something was numbered since: the server would wait for that number
            return
        digest = b"" if welcome.digest is UNSET else welcome.digest
        self._note_epoch(welcome.epoch, restored=restored, acked=welcome.acked, digest=digest)
        self.welcomed = True
        self._agree_roster(welcome.roster)
        self._ack(self.disk.position)

    def _note_epoch(self, epoch: bytes, *, restored: bool, acked: int, digest: bytes) -> None:
        disk = self.disk
        disk.epoch = epoch
        if restored:
            disk.restored += 1
            self.fetched_tick = None
            disk.position, disk.digest = acked, digest
            disk.nacks.clear()
            entries = [disk.entries.pop(sn) for sn in sorted(disk.entries)]
            for entry in entries:
                disk.sn += 1
                send = msgspec.structs.replace(entry.send, sn=disk.sn)
                disk.entries[disk.sn] = Entry(send, entry.draft)

    def _agree_roster(self, theirs: int) -> None:
        if theirs > self._own_version:
            self.want(self.account)
        else:
            self.lost_rosters = [
                roster for version, roster in sorted(self.disk.chain.items()) if version > theirs
            ]

    def want(self, account: AccountAddress) -> None:
        """A roster is to be fetched."""
        if account not in self.wanted:
            self.wanted.append(account)

    def _told(self, error: f.Error) -> None:
        if error.code in (Code.ACK_BEYOND.wire, Code.ACK_BACKWARDS.wire, Code.MALFORMED.wire):
            raise ServerFault(f"error {error.code} about {error.about}")
        if error.ref is not UNSET:
            receipts, _ = self._on_their_way.pop(error.ref, ([], []))
            if error.code == Code.RECEIPT_UNKNOWN.wire and len(receipts) > 1:
                self.one_by_one = True
                self._ack(None)
            elif error.code == Code.RECEIPT_UNKNOWN.wire:
                self._paid(receipts, [])

    # --- receiving --------------------------------------------------------------------------------

    def _save(self, rows: Sequence[s.Delivered | s.GapSeen]) -> None:
        """One transaction for these rows."""
        for row in rows:
            if isinstance(row, s.Delivered):
                first = last = row.deliver.position
            else:
                first, last = row.gap.first, row.gap.last
            if last <= self.disk.position:
                continue  # this device's other process has saved it
            if first != self.disk.position + 1:
                raise ServerFault(f"position {first} after {self.disk.position}")
            if isinstance(row, s.Delivered):
                self.safe.add(_hash_of(row.deliver))
                self._deliver(row.deliver)
            else:
                self.safe.update(row.gap.hashes)
                self.disk.gaps.append((row.gap.reason, first, last))
            self.disk.position, self.disk.digest = last, row.digest

    def _deliver(self, row: f.Deliver) -> None:
        disk = self.disk
        row_hash = _hash_of(row)
        seen = disk.seen.get(row_hash)
        if seen is not None:
            if seen.message:
                self._owe(seen.id, seen.sender, ReceiptState.DELIVERED)
            return
        letter = open_letter(row.body, row.wrap, self.id)
        if letter is None:
            disk.nacks[row.position] = "undecryptable"
            disk.unopened.add((row.device, row.id))
            return
        disk.seen[row_hash] = Seen(letter.id, letter.sender, letter.message)
        if not letter.message:
            return
        if (letter.sender, letter.id) not in disk.ids:
            disk.ids.add((letter.sender, letter.id))
            self.on_shown(letter.sender, letter.id)
            disk.shown.append((letter.sender, letter.id, letter.message))
        self._owe(letter.id, letter.sender, ReceiptState.DELIVERED)
        if letter.sender not in disk.met:
            disk.met.add(letter.sender)
            account = self._cast.member(letter.sender).account
            now = self._now_ms()
            answer = Draft(0, (account,), now, limits.TTL_MIN, (letter.sender,))
            disk.drafts.insert(0, answer)

    def _owe(self, id: bytes, sender: bytes, state: ReceiptState) -> None:
        receipt = sign_receipt(
            self.member.key,
            message=MessageId(id),
            sender_device=DeviceId(sender),
            recipient_device=self.id,
            state=state,
            at_ms=self._now_ms(),
        )
        self.disk.owed[id + sender + state.value.encode()] = receipt

    def read_aloud(self, place: int) -> None:
        """The user looks at a message, and the sender may know."""
        sender, id, _ = self.disk.shown[place]
        if self._cast.member(sender).account != self.account:
            self._owe(id, sender, ReceiptState.READ)

    def _paid(self, receipts: Sequence[Receipt], nacks: Sequence[f.Nack]) -> None:
        for receipt in receipts:
            name = receipt.message + receipt.sender_device + receipt.state.value.encode()
            self.disk.owed.pop(name, None)
        for nack in nacks:
            self.disk.nacks.pop(nack.position, None)

    def _ack(self, position: int | None) -> None:
        if not self.welcomed or self.socket is None:
            return
        away = {r.signature for some, _ in self._on_their_way.values() for r in some}
        away_nacks = {n.position for _, some in self._on_their_way.values() for n in some}
        owed = [r for r in self.disk.owed.values() if r.signature not in away]
        nacks = [
            f.Nack(p, reason)
            for p, reason in sorted(self.disk.nacks.items())
            if p not in away_nacks and p <= self.session.position
        ]
        for nack in nacks:
            self.session.nack(nack.position, nack.reason)
        size = 1 if self.one_by_one else RECEIPTS_AT_ONCE
        if position is not None:
            position = min(position, self.session.position)
        while True:
            some, owed = owed[:size], owed[size:]
            ack = f.Ack(receipts=tuple(some))
            if not owed and position is not None:
                ack.position = position
            if some or nacks:
                ack.ref = self._next_ref
                self._on_their_way[self._next_ref] = (some, nacks if not owed else [])
                self._next_ref += 1
            if some or nacks or position is not None:
                self.session.ack(ack)
            if not owed:
                return

    # --- writing ----------------------------------------------------------------------------------

    def write(self, draft: Draft) -> None:
        """The user wrote a message; it is saved."""
        self.disk.outcomes[draft.message] = {}
        self.disk.drafts.append(draft)

    def encrypt(self) -> bool:
        """Encrypt the next draft whose turn it is; tells whether there was one."""
        now = self._now_ms()
        held: set[AccountAddress] = set()
        for place, draft in enumerate(self.disk.drafts):
            if not held.isdisjoint(draft.to) and not draft.devices:
                continue
            accounts = self._accounts(draft)
            unknown = [a for a in accounts if a not in self.disk.rosters or a in self.wanted]
            for account in unknown:
                self.want(account)
            if draft.not_before_ms > now or unknown:
                held.update(draft.to)
                continue
            del self.disk.drafts[place]
            self._seal(draft, accounts, now)
            return True
        return False

    def _accounts(self, draft: Draft) -> list[AccountAddress]:
        return [*(a for a in draft.to if a != self.account), self.account]

    def _seal(self, draft: Draft, accounts: Sequence[AccountAddress], now: int) -> None:
        disk = self.disk
        if draft.sent_ms + draft.ttl * 1000 <= now:
            self._fail(draft, "expired")
            return
        if draft.frame is not None:
            disk.sn += 1
            send = msgspec.structs.replace(draft.frame, sn=disk.sn)
            disk.entries[disk.sn] = Entry(send, replace(draft, frame=None))
            return
        rosters = [disk.rosters[account] for account in accounts]
        peers = [
            (roster.account, entry.device)
            for roster in rosters
            for entry in roster.entries
            if entry.device != self.id and entry.device not in disk.dormant.get(roster.account, ())
        ]
        if draft.devices:
            peers = [peer for peer in peers if peer[1] in draft.devices]
            if not peers:
                self._give_up(draft, "revoked")
                return
        elif not {account for account, _ in peers}.issuperset(draft.to):
            self._fail(draft, "dormant")
            return
        disk.sn += 1
        id = draft.wire or self._random.randbytes(16)
        letter = Letter(id, self.id, draft.message)
        send = f.Send(
            sn=disk.sn,
            id=id,
            at=draft.sent_ms,
            body=seal(letter, large=draft.large),
            wraps=tuple(
                f.DeviceWrap(device, wrap(letter, device, poison=self._poisoned(draft, device)))
                for _, device in peers
            ),
            rosters=tuple(f.RosterUsed(roster.account, roster.version) for roster in rosters),
            kind=draft.kind,
            ttl=draft.ttl,
            partial=bool(draft.devices),
        )
        self.sends[id] = send
        disk.entries[disk.sn] = Entry(send, draft)
        if not draft.message:
            return
        disk.wires[id] = draft.message
        outcomes = disk.outcomes[draft.message] if draft.devices else {}
        for account, device in peers:
            again = outcomes[device].again if device in outcomes else 0
            outcomes[device] = Outcome(account, "waiting", id, again)
        disk.outcomes[draft.message] = outcomes

    def _poisoned(self, draft: Draft, device: bytes) -> bool:
        """Whether the first encryption for the first device of that account fails there."""
        return draft.poison and device == self._cast.members[device[0] % 3][0].id

    def push(self) -> None:
        """Send what is encrypted and not answered, oldest first."""
        if not self.welcomed or self._now_ms() < self.held_until:
            return
        for send in self.unsettled():
            if not self.session.may_send:
                break
            if send.sn not in self.session.in_flight:
                self.session.send(send)

    def unsettled(self) -> list[f.Send]:
        """What the server has not answered."""
        return [e.send for _, e in sorted(self.disk.entries.items()) if not e.settled]

    def settle(self, reply: f.Sent | f.Refused) -> None:
        """Save the server's answer to a send."""
        entry = self.disk.entries.get(reply.sn)
        if entry is None or entry.settled:
            return
        self.disk.settled = max(self.disk.settled, reply.sn)
        if isinstance(reply, f.Refused):
            self._refused(entry, reply)
            return
        message = entry.draft.message
        if not message or (entry.draft.devices and not self._awaited(entry)):
            del self.disk.entries[reply.sn]
            return
        outcomes = self.disk.outcomes[message]
        for refused in reply.refused:
            if refused.device in outcomes:
                outcomes[refused.device] = outcomes[refused.device].advance("refused")
        self.disk.entries[reply.sn] = replace(entry, settled=True)
        self._forget_if_over(message)

    def _awaited(self, entry: Entry) -> bool:
        outcomes = self.disk.outcomes[entry.draft.message]
        return any(
            outcomes[device].account != self.account
            for device in entry.draft.devices
            if device in outcomes
        )

    def _refused(self, entry: Entry, reply: f.Refused) -> None:
        code = code_of(reply.code)
        draft = entry.draft
        assert code is not None
        if code is Code.REVOKED:
            self.end("revoked")
            return
        if code is Code.SN_REUSED and self.is_copy:
            self.end("rolled back")
            return
        forgotten = code is Code.SN_FORGOTTEN and not self.server_lost_memory
        if forgotten or code in (Code.SN_REUSED, Code.MALFORMED, Code.NOT_ENCRYPTED):
            raise ServerFault(f"{code.wire} for an honest send")
        del self.disk.entries[reply.sn]
        if code.retry in (Retry.REFRESH, Retry.SAME) and draft.tries < TRIES_MAX:
            for account in reply.accounts:
                self.want(AccountAddress(account))
            after = 0.0 if reply.retry_after is UNSET else reply.retry_after
            later = self._now_ms() + round(after * 1000) if after else 0
            if code is Code.UNCONFIRMED:
                again = replace(draft, not_before_ms=later, frame=entry.send)
            else:
                tries = draft.tries + 1
                again = replace(draft, tries=tries, not_before_ms=later, wire=entry.send.id)
            self._queue(again)
        else:
            self._fail(draft, reply.code)

    def _queue(self, draft: Draft) -> None:
        """In its old place among what the user wrote."""
        drafts = [one for one in self.disk.drafts if one.message]
        place = sum(1 for one in drafts if one.message <= draft.message)
        self.disk.drafts[:] = [one for one in self.disk.drafts if not one.message]
        self.disk.drafts += [*drafts[:place], draft, *drafts[place:]]

    def _fail(self, draft: Draft, reason: str) -> None:
        if not draft.message:
            return
        if draft.devices:
            self._give_up(draft, "undecryptable")
        else:
            self.disk.failed[draft.message] = reason

    def _give_up(self, draft: Draft, state: str) -> None:
        if not draft.message:
            return
        outcomes = self.disk.outcomes[draft.message]
        for device in draft.devices:
            outcomes[device] = outcomes[device].advance(state)
        self._forget_if_over(draft.message)

    def status(self, status: f.Status) -> None:
        """Save what became of a message."""
        message = self.disk.wires.get(status.id)
        if message is None:
            return
        outcomes = self.disk.outcomes[message]
        for state in status.devices:
            outcome = outcomes.get(state.device)
            if outcome is None:
                continue
            if state.state in ("delivered", "read"):
                if not self._receipt_holds(state, status.id):
                    continue
            elif outcome.wire != status.id or self._drafted(message, state.device):
                continue  # about an envelope that another one replaces
            elif state.state == "undecryptable" and outcome.again < limits.RESENDS_MAX:
                if outcome.state in ("delivered", "read"):
                    continue
                if self._encrypt_for(message, state.device):
                    outcomes[state.device] = replace(outcome, again=outcome.again + 1)
                    continue
            outcomes[state.device] = outcome.advance(state.state)
        self._forget_if_over(message)

    def _receipt_holds(self, state: f.DeviceState, id: bytes) -> bool:
        if not state.signature:
            return False
        receipt = Receipt(
            MessageId(id),
            self.id,
            DeviceId(state.device),
            ReceiptState(state.state),
            state.at,
            state.signature,
        )
        try:
            verify_receipt(receipt, self._cast.member(state.device).certificate)
        except Untrusted:
            raise ServerFault("passed on a receipt that does not hold") from None
        return True

    def _drafted(self, message: int, device: bytes) -> bool:
        return any(d.message == message and d.devices == (device,) for d in self.disk.drafts)

    def _encrypt_for(self, message: int, device: bytes) -> bool:
        for _, entry in sorted(self.disk.entries.items()):
            if entry.draft.message == message:
                again = replace(
                    entry.draft, devices=(device,), tries=0, poison=False, wire=b"", frame=None
                )
                self._queue(again)
                return True
        return False

    def forget_expired(self) -> None:
        """What nobody confirmed in its time has ended for the user."""
        now = self._now_ms()
        for sn, entry in list(self.disk.entries.items()):
            draft = entry.draft
            if not entry.settled or draft.sent_ms + draft.ttl * 1000 >= now:
                continue
            self.disk.entries.pop(sn, None)
            outcomes = self.disk.outcomes[draft.message]
            for device, outcome in outcomes.items():
                outcomes[device] = outcome.advance("expired")
            self._forget_if_over(draft.message)

    def is_over(self, message: int) -> bool:
        """Whether every recipient account has it, or never will, as far as the user sees."""
        if message in self.disk.failed:
            return True
        outcomes = self.disk.outcomes[message]
        open_accounts = {
            account
            for account in {one.account for one in outcomes.values()} - {self.account}
            if not self._reached(outcomes, account)
            and any(o.account == account and o.state == "waiting" for o in outcomes.values())
        }
        return bool(outcomes) and not open_accounts

    @staticmethod
    def _reached(outcomes: dict[bytes, Outcome], account: AccountAddress) -> bool:
        return any(
            one.account == account and one.state in ("delivered", "read")
            for one in outcomes.values()
        )

    def _forget_if_over(self, message: int) -> None:
        if self.is_over(message):
            for sn, entry in list(self.disk.entries.items()):
                if entry.draft.message == message and entry.settled:
                    del self.disk.entries[sn]

    # --- over HTTP --------------------------------------------------------------------------------

    def mailbox_call(self) -> api.MailboxCall:
        """The body of `POST /v1/mailbox`."""
        disk = self.disk
        tick = UNSET if self.fetched_tick is None else self.fetched_tick
        receipts = tuple(disk.owed.values())[:RECEIPTS_AT_ONCE]
        return api.MailboxCall(
            after=disk.position,
            digest=disk.digest,
            sn=disk.sn,
            epoch=disk.epoch,
            roster=self._own_version,
            ack=f.Ack(position=disk.position, tick=tick, receipts=receipts),
            nacks=tuple(f.Nack(p, reason) for p, reason in sorted(disk.nacks.items())),
            settled=disk.settled,
        )

    def fetched(self, call: api.MailboxCall, page: api.MailboxPage) -> None:
        """The answer of `POST /v1/mailbox`."""
        restored = page.restored is not UNSET
        digest = b"" if page.after_digest is UNSET else page.after_digest
        if restored and self.disk.sn != call.sn:
            return  # something was numbered since: the next call declares it
        if restored:
            self.hang_up()  # the app's connection counts from where the server no longer stands
        if restored or page.epoch != self.disk.epoch:
            self._note_epoch(page.epoch, restored=restored, acked=page.acked, digest=digest)
        if not restored:
            assert isinstance(call.ack, f.Ack)
            self._paid(call.ack.receipts, call.nacks)
        self._save(self._rows(page))
        for status in page.statuses:
            self.status(status)
            self.fetched_tick = max(self.fetched_tick or 0, status.tick)

    def _rows(self, page: api.MailboxPage) -> list[s.Delivered | s.GapSeen]:
        digest = self.disk.digest
        rows: list[s.Delivered | s.GapSeen] = []
        for row in page.rows:
            if isinstance(row, f.Gap):
                for at, row_hash in enumerate(row.hashes, row.first):
                    digest = roll(digest, at, row_hash)
                rows.append(s.GapSeen(row, digest))
            else:
                digest = roll(digest, row.position, _hash_of(row))
                rows.append(s.Delivered(row, digest))
        return rows

    def rosters_told(self, told: api.Rosters) -> None:
        """The answer of `GET /v1/accounts/…/rosters`."""
        account = AccountAddress(told.account)
        known = self.disk.rosters.get(account)
        try:
            self.learn(verify_chain(told.rosters, account=account, known=known))
        except Untrusted:
            return  # an older copy of the database: its owner will give the rosters back
        for roster in map(decode, told.rosters):
            if account == self.account:
                self.disk.chain[roster.version] = roster
        self.disk.dormant[account] = tuple(told.dormant)

    def refused(self, error: RemoteError) -> None:
        """A call was refused."""
        if error.code is Code.REVOKED:
            self.end("revoked")
        elif error.code is Code.SN_REUSED:
            self.end("rolled back")
        elif error.code is Code.AUTH_FAILED:
            self.admitted = False
        elif error.code is Code.ACK_BEYOND and self.server_lost_memory:
            self.fetched_tick = None
        elif error.code in (Code.MALFORMED, Code.ACK_BEYOND, Code.NACK_UNKNOWN):
            raise ServerFault(f"{error.code.wire} for an honest call")


def _hash_of(row: f.Deliver) -> bytes:
    return envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
