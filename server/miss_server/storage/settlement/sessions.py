"""Compares what a device and the database remember, and opens the session (rule C6)."""

import msgspec

from miss_protocol import limits
from miss_protocol.ids import AccountAddress
from miss_server.storage import epoch_ids
from miss_server.storage.messages import Greeting, SessionRefused, SessionStart

GENERATIONS_OF_AN_EPOCH = 32
"""Bits: counted on from the epoch's number, a generation that a restore undid never comes again."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """What the database knows of a device that is not revoked; the device's row is locked.

    `here` is the rolling digest of the row at the greeting's position, None without such a row.
    """

    account: str
    sn: int
    generation: int
    noted: bytes
    ticks: int
    seen_ms: int
    window: int
    roster_version: int
    confirmed: bool
    head: int
    digest: bytes
    acked: int
    acked_digest: bytes
    here: bytes | None
    prekeys: int
    charter: str
    epoch: bytes
    epoch_since: int
    secret: bytes


class Opened(msgspec.Struct, frozen=True, gc=False):
    """An opened session, and what to write: the device's counts, and whether its account is
    confirmed (None: as it was)."""

    start: SessionStart
    generation: int
    sn: int
    noted: bytes
    confirmed: bool | None


class Comparison:
    """One greeting against what is known. Look at `refused`, then at `proven_after` and
    `differs`, then `open` it."""

    def __init__(self, greeting: Greeting, known: Known) -> None:
        self._greeting = greeting
        self._known = known
        self.refused: SessionRefused | None = None
        self.proven_after: int | None = None
        """The device has seen a later epoch of this very database: it is an older copy, and one of
        a number above this must begin."""
        self.differs = False
        """By the device's word alone something is gone from here. A new epoch begins if its account
        may say so now; otherwise it alone begins anew, and others are for others to tell."""
        # One that was told, and shows that it heard, has taken note.
        heard = not known.noted and greeting.epoch == known.epoch
        self._noted = known.epoch if heard else known.noted
        self._compare()

    @property
    def wants_epoch(self) -> bool:
        """Whether a new epoch must begin, or may."""
        return self.proven_after is not None or self.differs

    def _compare(self) -> None:
        greeting, known = self._greeting, self._known
        if greeting.sn < known.sn:
            # A device never takes a number back, whatever became of this database: its state is
            # older than what it sent, and would use keys and numbers a second time (rule B2).
            self.refused = SessionRefused(rolled_back=True)
        elif epoch_ids.proves_restore(greeting.epoch, known.epoch, known.secret):
            self.proven_after = epoch_ids.number(greeting.epoch)
        elif self._noted == known.epoch and greeting.epoch in (b"", known.epoch):
            if greeting.position < known.acked:
                self.refused = SessionRefused(rolled_back=True)
                return
            # Rows that it never received, or its own sends that were answered, are gone from here.
            self.differs = self._digest() != greeting.digest or greeting.settled > known.sn

    def _digest(self) -> bytes | None:
        """The rolling digest at the greeting's position, None for one that was never given."""
        if self._greeting.position == self._known.head:
            return self._known.digest
        if self._greeting.position == self._known.acked:
            return self._known.acked_digest
        return self._known.here

    def open(self, now_ms: int, new_epoch: bytes | None = None) -> Opened:
        """Open the session, with the epoch that this very hello made begin, if it did."""
        greeting, known = self._greeting, self._known
        epoch = new_epoch or known.epoch
        since = now_ms if new_epoch is not None or self.differs else known.epoch_since
        sn, resume = known.sn, greeting.position
        confirmed, confirm = known.confirmed, None
        restored = (
            (self.differs and new_epoch is None)
            or self._noted != epoch
            or greeting.epoch not in (b"", epoch)
        )
        if restored:
            # The device learns of the epoch once; it goes on from where this database stands, and
            # its sends count on from what it declares: what was delivered before left its outbox.
            resume, sn = known.acked, greeting.sn
            if greeting.roster > known.roster_version:
                confirmed = confirm = False  # it brings the rosters that were lost
        if (new_epoch is not None or not confirmed) and greeting.roster == known.roster_version:
            # At any hello: it may have had to fetch a newer roster before it could confirm it.
            confirm = True
        generation = known.generation
        if greeting.live:
            lowest = epoch_ids.number(epoch) << GENERATIONS_OF_AN_EPOCH
            generation = max(generation, lowest) + 1
        # One that knew no epoch is told of the restore until it shows this one: its welcome may get
        # lost.
        noted = epoch if not restored or greeting.epoch else b""
        start = SessionStart(
            account=AccountAddress(known.account),
            generation=generation,
            epoch=epoch,
            head=known.head,
            acked=known.acked,
            resume_after=resume,
            sn=sn,
            ticks_after=known.ticks,
            prekeys=0 if new_epoch is not None else known.prekeys,
            roster_version=known.roster_version,
            window=known.window,
            charter=known.charter,
            dormant=known.seen_ms < now_ms - limits.DORMANT_AFTER * 1000,
            restored_since=since if restored else None,
            digest=known.acked_digest if restored else None,
            epoch_changed=new_epoch is not None,
        )
        return Opened(start, generation, sn, noted, confirm)
