"""A model device: the real `ClientSession`, and the order of saving that spec 03 §3 prescribes.

It does what `miss_client` does (`outbox`, `inbox`, `transport`, `upkeep`, `fetching`), without
encryption and without waiting: each method is one step between two points at which the process
may die. `Disk` is changed only where the reference client has a transaction.
"""

from collections.abc import Sequence
from enum import Enum

import msgspec
from msgspec import UNSET

from miss_protocol import api
from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import client_codec
from miss_protocol.digest import roll
from miss_protocol.errors import CloseCode, Code, Malformed, RemoteError, Untrusted
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.roster import decode, verify_chain
from miss_protocol.ids import AccountAddress
from tests.simulation.cast import DOMAIN
from tests.simulation.device import ServerFault
from tests.simulation.disk import Entry
from tests.simulation.node import Wire
from tests.simulation.prekeys import Keeping
from tests.simulation.receiving import RECEIPTS_AT_ONCE, Receiving, hash_of
from tests.simulation.writing import Writing


class Dies(Enum):
    """Where the process ends while it works on what it read."""

    NOT = 0
    BEFORE_SAVING = 1
    BETWEEN = 2
    """After the first event's transaction, before the others."""
    AFTER_SAVING = 3
    """Everything is saved and nothing of it was told to the server."""


class Phone(Receiving, Writing, Keeping):
    """A whole device: its connections and its HTTP calls over all that it does."""

    def dial(self, socket: Wire) -> None:
        """Begin a connection; an older one of this process is given up."""
        self.hang_up()
        self.socket = socket
        self.session = ClientSession(
            client_codec(), position=self.disk.position, digest=self.disk.digest
        )
        self.welcomed = False
        self.held_until = 0
        self._on_their_way.clear()

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
            self._not_known()
        elif not code.reconnect and code is not CloseCode.REPLACED:
            raise ServerFault(f"ended by {code.name}")

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
        self._refill(welcome.prekeys, restored=restored)
        self._ack(self.disk.position)

    def _note_epoch(self, epoch: bytes, *, restored: bool, acked: int, digest: bytes) -> None:
        disk = self.disk
        disk.epoch = epoch
        if restored:
            disk.restored += 1
            self.fetched_tick = None
            disk.position, disk.digest = acked, digest
            disk.settled = disk.sn
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

    def _not_known(self) -> None:
        """A restored server does not know this device: give it the rosters that it may lack, once."""
        if self.admitted:
            self.lost_rosters = [r for version, r in sorted(self.disk.chain.items()) if version > 1]
        self.admitted = False

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

    def mailbox_call(self) -> api.MailboxCall:
        """The body of `POST /v1/mailbox`."""
        disk = self.disk
        tick = UNSET if self.fetched_tick is None else self.fetched_tick
        receipts = tuple(disk.owed.values())[:RECEIPTS_AT_ONCE]
        position = disk.position if len(receipts) == len(disk.owed) else UNSET
        return api.MailboxCall(
            after=disk.position,
            digest=disk.digest,
            sn=disk.sn,
            epoch=disk.epoch,
            roster=self._own_version,
            ack=f.Ack(position=position, tick=tick, receipts=receipts),
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
        if restored:
            self._refill(page.prekeys, restored=True)
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
                digest = roll(digest, row.position, hash_of(row))
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
            self._not_known()
        elif error.code is Code.ACK_BEYOND and self.server_lost_memory:
            self.fetched_tick = None
        elif error.code in (Code.MALFORMED, Code.ACK_BEYOND, Code.NACK_UNKNOWN):
            raise ServerFault(f"{error.code.wire} for an honest call")


__all__ = ["Dies", "Phone", "ServerFault"]
