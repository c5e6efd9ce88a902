"""The interface of everything that moves a message: sessions, sends, mailboxes, statuses.

What holds for every implementation (the contract suite is `tests/contract/test_messages.py`):

* Every call that changes something returns after its COMMIT reached the disk, or raises
  `NotDurable`: then the outcome is unknown and the same call may be repeated (rules C1, C4).
* Calls that arrive while a commit runs are gathered into the next one. A call succeeds or fails
  alone: one sender's stale roster rolls back nobody else's message.
* Positions of one mailbox are contiguous and follow commit order (rule C2).
* `fetch` never skips: it returns rows from the one after `after`, in order, as many as fit.
* Nothing leaves a mailbox but by `acknowledge`, by becoming a visible gap in its place (expiry),
  or with the whole device (revocation).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from miss_protocol import frames as f
from miss_protocol.errors import Code
from miss_protocol.identity.receipts import Receipt
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.tallies import StorageTally


class NotDurable(Exception):
    """The commit failed or its outcome is unknown. Repeat the same call later.

    `cause`: see `StorageTally.failures`; empty if it is not known.
    """

    def __init__(self, text: str = "", cause: str = "") -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What the server knows of a device."""

    id: DeviceId
    account: AccountAddress
    signing_key: bytes
    revoked: bool
    suspended: bool
    roster_version: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `hello` declares, after its signature was checked."""

    device: DeviceId
    position: int
    digest: bytes
    sn: int
    epoch: bytes
    roster: int
    app: str
    live: bool = True
    """False for an HTTP call, which never bumps the session generation (rule B3)."""
    settled: int = 0
    """The highest number whose answer the device saved."""


@dataclass(frozen=True, slots=True)
class SessionStart:
    """How the two ends' counts agree.

    A `generation` is above all earlier ones of its device, those included that a restore undid: a
    session of before it, still connected to another node, is never taken for the current one.
    `resume_after` is the position after which to deliver; `restored_since` is set once per device
    after an epoch change, with `digest` to go on from; `epoch_changed` tells that this very hello
    uncovered a restore: every other connection must start anew.
    """

    account: AccountAddress
    generation: int
    epoch: bytes
    head: int
    acked: int
    resume_after: int
    sn: int
    ticks_after: int
    prekeys: int
    roster_version: int
    window: int
    charter: str
    dormant: bool
    restored_since: int | None = None
    digest: bytes | None = None
    epoch_changed: bool = False


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """`rolled_back`: the device's state is older than what it sent or acknowledged."""

    rolled_back: bool = False
    revoked: bool = False


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A send on its way into the store. `fingerprint` is a hash of the whole frame.

    `verdict` is a refusal that was found by looking at the frame alone: it uses up the `sn`, so it
    is settled and remembered like any other.
    """

    device: DeviceId
    generation: int | None
    send: f.Send
    fingerprint: bytes
    verdict: Code | None = None
    unsure_ms: int = 0
    """How much earlier it may be than the time that it is submitted at: two clocks differ."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A send's answer, and what to do about the mailboxes that grew by it.

    `reply` is None when the session that sent it is no longer the device's current one. `rows` are
    the new rows by recipient device, so that a node whose connection has everything before them
    need not read them back; `ring` are devices whose mailboxes changed in another way.
    """

    reply: f.Sent | f.Refused | f.RetrySend | None
    rows: "Sequence[tuple[DeviceId, Row]]" = ()
    ring: Sequence[DeviceId] = ()


class AckLine:
    """The acknowledgements of one session, which are stored in their order or not at all.

    A position is cumulative. Were one stored behind another that was not, the rows of both would be
    gone, and the receipts and nacks of the first would never reach their senders.
    """

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False
        """One was not stored, or nobody knows whether: none behind it is."""


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    """What a device stored: cumulative position and tick, receipts, and what it cannot open."""

    device: DeviceId
    generation: int | None
    position: int | None = None
    tick: int | None = None
    receipts: Sequence[Receipt] = ()
    nacks: Sequence[tuple[int, str]] = ()
    line: AckLine = msgspec.field(default_factory=AckLine)


class Acknowledged(msgspec.Struct, frozen=True, gc=False):
    """The new statuses by sender device, and what was not accepted.

    `stale`: nothing was stored, because the session is no longer the device's current one.
    """

    statuses: Sequence[tuple[DeviceId, f.Status]] = ()
    problems: Sequence[Code] = ()
    stale: bool = False


class Row(msgspec.Struct, frozen=True, gc=False):
    """One position of a mailbox: a message, or a gap with the reason."""

    position: int
    row_hash: bytes
    digest: bytes
    gap: str | None
    count: int
    sender_account: AccountAddress
    sender_device: DeviceId
    message: bytes
    body: bytes
    wrap: bytes
    kind: f.Kind
    urgency: f.Urgency
    at_ms: int

    @property
    def size(self) -> int:
        """Bytes that count against the delivery window and the quota."""
        return len(self.body) + len(self.wrap) + ROW_OVERHEAD


ROW_OVERHEAD = 160
"""Bytes of a row beside body and wrap, on the wire and in the quota."""


class Fetched(msgspec.Struct, frozen=True, gc=False):
    """Rows and statuses for one device."""

    rows: Sequence[Row] = ()
    statuses: Sequence[f.Status] = ()
    head: int = 0


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a connection has room for."""

    device: DeviceId
    after: int
    max_bytes: int
    ticks_after: int
    max_statuses: int


class Head(NamedTuple):
    """How far a device's mailbox and statuses go, and which session of it is the current one."""

    position: int
    tick: int
    generation: int


class Messages(Protocol):
    """Sessions, sends, mailboxes and statuses of one database."""

    @property
    def tally(self) -> StorageTally:
        """What it counts, and how far its clock is from this machine's."""
        ...

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        """Look a device up; revoked ones are found too."""
        ...

    async def begin_session(
        self, greeting: Greeting, *, now_ms: int
    ) -> SessionStart | SessionRefused:
        """Compare counts and digests (rule C6), bump the generation, note that it was seen."""
        ...

    def end_session(
        self, device: DeviceId, generation: int, *, window: int, now_ms: int
    ) -> asyncio.Future[None]:
        """Note when the device was last here and how wide its window had grown."""
        ...

    def submit(self, submission: Submission, *, now_ms: int) -> asyncio.Future[Settled]:
        """Settle a send: durable for all its recipients, or refused (rules B2, C1-C3).

        A future, not a coroutine: a busy connection has many and needs no task for each. Futures
        of one commit are resolved together, so that rows of a mailbox come in position order.
        """
        ...

    def acknowledge(self, ack: Acknowledgement, *, now_ms: int) -> asyncio.Future[Acknowledged]:
        """Delete what is acknowledged, pass receipts and nacks on to the senders.

        Those of one line are stored in the order in which they are handed in; behind one that failed
        all fail with `NotDurable`, whatever the reason of the first was.
        """
        ...

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        """Read rows and statuses for many connections at once, in the order of `wanted`.

        A row always comes if it is the first one after `after`, however large; further ones
        while they fit into `max_bytes`. `max_bytes` 0 means no row.
        """
        ...

    async def note_seen(self, devices: Sequence[DeviceId], *, now_ms: int) -> None:
        """Note that these devices are connected: one that stays so for a month is not dormant."""
        ...

    async def heads(self, devices: Sequence[DeviceId]) -> dict[DeviceId, Head]:
        """The last position, status tick and session of each device that is not revoked."""
        ...

    async def expire(self, *, protected: Mapping[DeviceId, int], now_ms: int) -> Sequence[DeviceId]:
        """Turn rows past their time into gaps; returns devices to ring (senders and owners).

        `protected` has the position up to which rows were written to a live connection of this
        node: those wait until it ends (rule C5). Rows of a device whose session is at another node
        are left to that one, unless it was not heard of for a minute. At most a few hundred rows
        a call; call again while it returns any.
        """
        ...

    async def clean(self, *, now_ms: int) -> int:
        """Forget results, nonces, codes and links past their time; returns how many rows."""
        ...

    async def why_suspended(self, account: AccountAddress) -> str:
        """What the owner of a suspended account is told; empty if nobody noted a reason."""
        ...

    async def epoch(self) -> bytes:
        """The mailbox epoch in force."""
        ...
