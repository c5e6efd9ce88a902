"""The interface of departures: who has left the register, or lost what vouched for them (rule F2).

Nobody is suspended at once, nobody in silence, and nobody because a source is missing or stands still.
`tests/contract/test_departures.py` is the contract suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from miss_protocol.ids import AccountAddress, DeviceId

STALE_AFTER_MS = 14 * 24 * 3600 * 1000
"""A national source that is older, or has stood still for so long, ends nobody's access."""


class Cause(Enum):
    """Why an account will end. A word that was written once keeps its meaning."""

    LEFT = "left"
    """Its person is no longer in the directory."""
    UNATTESTED = "unattested"
    """Nothing vouches any more for a person without a national number."""


@dataclass(frozen=True, slots=True)
class Departure:
    """An account on its way out; `suspended_ms` is set once its grace is over."""

    account: AccountAddress
    person: str
    name: str
    cause: Cause
    since_ms: int
    due_ms: int
    suspended_ms: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """What differs between the directory of one moment and the departures that are noted."""

    generation: int
    begin: Sequence[tuple[AccountAddress, Cause]] = ()
    cancel: Sequence[tuple[AccountAddress, Cause]] = ()
    suspend: Sequence[tuple[AccountAddress, Cause]] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """What was written: accounts, and the devices whose sessions must end."""

    begun: Sequence[AccountAddress] = ()
    cancelled: Sequence[AccountAddress] = ()
    suspended: Sequence[AccountAddress] = ()
    devices: Sequence[DeviceId] = ()


class Departures(Protocol):
    """Who is leaving."""

    async def find_departures(self, *, now_ms: int) -> Found:
        """Compare accounts with the directory in force; writes nothing."""
        ...

    async def note_departures(self, found: Found, *, grace_ms: int, now_ms: int) -> Swept:
        """Write what was found, unless another directory has come in force meanwhile.

        Who is back is no longer leaving, and no longer suspended for it.
        """
        ...

    async def departures(self, account: AccountAddress | None = None) -> list[Departure]:
        """Those of an account, or all, the next to end first."""
        ...
