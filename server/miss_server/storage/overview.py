"""The interfaces of what an operator asks of a database: how much, how old, where a message is.

`Overview` only reads, beside everything else; it never holds up a sender, and what it tells may be
seconds old. Nothing tells a content. `tests/contract/test_overview.py` is the contract suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.tallies import StorageTally

LOW_PREKEYS = 5
"""One-time prekeys of a device: with fewer, a busy morning uses them up before it comes back."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over a database at one moment. Times are milliseconds, sizes bytes."""

    accounts: int
    unconfirmed: int
    """Accounts that take no messages after a restore until a device of theirs came back."""
    devices: int
    """Not revoked; `dormant` ones among them were not seen for `limits.DORMANT_AFTER`."""
    dormant: int
    prekeys: int
    """One-time ones, of all devices."""
    low_on_prekeys: int
    """Devices that are not dormant and have fewer than `LOW_PREKEYS`; `without_prekeys`: none."""
    without_prekeys: int
    waiting: int
    """Rows in all mailboxes, in `mailboxes` of them, the deepest with `deepest`."""
    waiting_bytes: int
    mailboxes: int
    deepest: int
    full: int
    """Mailboxes that take nothing more."""
    oldest_ms: int | None
    """When the message that waits longest was committed; None if none waits."""
    epoch: int
    """How many lives this database had: one more with each restore."""
    directory_ms: int | None
    """The day of the directory's oldest data; None before the first import."""
    directory_sources: tuple[tuple[str, int], ...]
    """Each source of the directory, and the day of its oldest data."""
    directory_entries: int
    reports_open: int
    """Reports that no operator has closed, the oldest filed at `oldest_report_ms`; None if there is none."""
    oldest_report_ms: int | None
    bytes: int
    """What the database takes on its disk, logs included."""
    archive_fails: bool = False
    """The pieces of PostgreSQL's log cannot be archived and fill its disk."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is for one recipient device.

    `state` and `at_ms` as in a `status` frame. While it is `waiting`: its `position` in the mailbox,
    how many rows are `ahead` of it that the device has not acknowledged, and when it runs out.
    `silenced`: nothing waits, since the account blocks the sender, who must not learn of that (08 §3).
    """

    device: DeviceId
    account: AccountAddress | None
    own: bool
    """A device of the sender's own account."""
    state: str
    at_ms: int
    signed: bool
    """The state is the device's own word."""
    position: int | None
    ahead: int
    expires_ms: int | None
    seen_ms: int | None
    dormant: bool
    silenced: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """One send of a message: `outcome` is `sent` or the code of its refusal.

    `told`: the sender's device has acknowledged the last news. `kept_until_ms`: when the server
    forgets it; None while something is open.
    """

    account: AccountAddress
    device: DeviceId
    sn: int
    kind: str
    outcome: str
    sent_ms: int | None
    told: bool
    kept_until_ms: int | None
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class TableSize:
    """Of a table with its indexes."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a database is, and how it grows.

    `free` bytes are inside `total` and used again; `log` is what waits to be moved into it.
    `new_accounts` and `new_devices` are of the last 30 days, `messages_week` the messages whose
    last state is of the last seven days.
    """

    tables: Sequence[TableSize]
    total: int
    free: int
    log: int
    new_accounts: int
    new_devices: int
    messages_week: int


class Writing(Protocol):
    """What this process writes."""

    @property
    def tally(self) -> StorageTally:
        """What it counted since its start."""
        ...

    async def prove_durable(self, *, now_ms: int) -> None:
        """Commit something that means nothing, by the way that messages go.

        Raises:
            NotDurable: a message would not be durable now either.
        """
        ...


class Overview(Protocol):
    """What there is to know of one database, also for a command beside a running server."""

    async def figures(self, *, now_ms: int) -> Figures:
        """Sum up; up to seconds on a large database, beside everything else."""
        ...

    async def trace(self, message: bytes, *, now_ms: int) -> Sequence[Trace]:
        """Everything about the message of this id; empty if it is not known (any more)."""
        ...

    async def sizes(self, *, now_ms: int) -> Sizes:
        """Measure every table: this reads the whole database."""
        ...

    async def without_administrator(self) -> Sequence[str]:
        """Organisations that vouch for people, or had an administrator named, and for which nobody can
        act at present."""
        ...
