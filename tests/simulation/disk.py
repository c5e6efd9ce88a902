"""What a model device keeps on its disk. Copies of it are backups, and what a crash leaves."""

import copy
from dataclasses import dataclass, field, replace

from miss_protocol import api
from miss_protocol import frames as f
from miss_protocol.digest import EMPTY
from miss_protocol.identity.receipts import Receipt
from miss_protocol.identity.roster import Roster
from miss_protocol.ids import AccountAddress

_STRENGTH = {"waiting": 0, "delivered": 2, "read": 3}


@dataclass(frozen=True)
class Draft:
    """Something to encrypt. `devices` limits it to these; `message` 0 is a session ack."""

    message: int
    to: tuple[AccountAddress, ...]
    sent_ms: int
    ttl: int
    devices: tuple[bytes, ...] = ()
    tries: int = 0
    not_before_ms: int = 0
    poison: bool = False
    """One device cannot open what is encrypted for all."""
    poison_again: bool = False
    """The same, but only once the server refused it: the device may have shown it by then."""
    large: bool = False
    wire: bytes = b""
    """The id under which it was refused; it stays."""
    frame: f.Send | None = None
    """The envelope that is held for an unconfirmed account."""

    @property
    def kind(self) -> f.Kind:
        """Whether a user wrote it."""
        return "message" if self.message else "control"


@dataclass(frozen=True)
class Entry:
    """A send: the exact frame, until every recipient's last state."""

    send: f.Send
    draft: Draft
    settled: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a message at one device."""

    account: AccountAddress
    state: str
    wire: bytes
    again: int = 0

    def advance(self, state: str) -> "Outcome":
        """With the news, if they are stronger."""
        stronger = _STRENGTH.get(state, 1) > _STRENGTH.get(self.state, 1)
        return replace(self, state=state) if stronger else self


@dataclass(frozen=True)
class Seen:
    """An envelope that was opened."""

    id: bytes
    sender: bytes
    message: int


@dataclass
class Disk:
    """Everything that survives a crash; each value is replaced, never changed."""

    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    sn: int = 0
    settled: int = 0
    drafts: list[Draft] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)
    outcomes: dict[int, dict[bytes, Outcome]] = field(default_factory=dict)
    """By message, then by device."""
    failed: dict[int, str] = field(default_factory=dict)
    wires: dict[bytes, int] = field(default_factory=dict)
    seen: dict[bytes, Seen] = field(default_factory=dict)
    """By the hash of the row."""
    first_ids: dict[int, bytes] = field(default_factory=dict)
    """By message: the id under which it was first sent."""
    ids: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    """The id under which it came last, by sender device and first id, of what was shown."""
    read: set[tuple[bytes, bytes]] = field(default_factory=set)
    """(sender device, first id) of what the user read aloud."""
    shown: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    """(sender device, first id, message), as the user saw them come."""
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    """(reason, first, last), as the user was told."""
    unopened: set[tuple[bytes, bytes]] = field(default_factory=set)
    """(sender device, id on the wire) of what could not be opened."""
    owed: dict[bytes, Receipt] = field(default_factory=dict)
    nacks: dict[int, f.NackReason] = field(default_factory=dict)
    met: set[bytes] = field(default_factory=set)
    rosters: dict[AccountAddress, Roster] = field(default_factory=dict)
    dormant: dict[AccountAddress, tuple[bytes, ...]] = field(default_factory=dict)
    chain: dict[int, Roster] = field(default_factory=dict)
    """This account's own rosters by version."""
    prekey_id: int = 0
    """The highest id that was ever given."""
    upload: api.PrekeysUploaded | None = None
    """Made and not known to have arrived."""
    latest: api.PrekeysUploaded | None = None
    """The last upload, also after it arrived: a client may repeat it."""
    last_resort_owed: bool = True
    restored: int = 0
    """How often the user was told that the server had lost its memory."""

    def backup(self) -> "Disk":
        """A copy as it is now."""
        return Disk(
            **{name: copy.copy(value) for name, value in vars(self).items() if name != "outcomes"},
            outcomes={message: dict(some) for message, some in self.outcomes.items()},
        )
