"""What the parts of the server count about themselves, in plain numbers.

Counting happens on the path of every message, so it is an addition and nothing else; each part owns
its tally, one thread writes a number, and whoever wants to know reads them all (`operating.metrics`).
Nothing here is by person, account or device.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Spread:
    """How often a value was at most each of some bounds, which rise; `counts` has one more."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class StorageTally:
    """Of one store: a batch is what one commit makes durable."""

    batch_jobs: Spread = field(default_factory=lambda: Spread(SIZES))
    batch_seconds: Spread = field(default_factory=Spread)
    """From the first statement of a batch until it is known to be on the disk."""
    batch_wait: Spread = field(default_factory=Spread)
    """From handing in the first job of a batch until it is answered."""
    failures: Counter[str] = field(
        default_factory=lambda: Counter(locked=0, full=0, disk=0, crowded=0, connection=0, other=0)
    )
    """Batches and reads that failed, by cause."""
    behind_ms: int = 0
    """How far this machine's clock was behind that of a database elsewhere, when last compared."""

    def earlier_ms(self, now_ms: int) -> int:
        """The earlier of both clocks, if this machine's says `now_ms`: nobody knows which of them is
        right, and what is ended by this one ends too soon by neither."""
        return now_ms + min(0, self.behind_ms)

    def later_ms(self, now_ms: int) -> int:
        """The later of both: what is said to be of the future is so by both."""
        return now_ms + max(0, self.behind_ms)


@dataclass(slots=True)
class RelayTally:
    """Of one node's connections."""

    settled: Counter[str] = field(
        default_factory=lambda: Counter(sent=0, not_durable=0, internal=0)
    )
    """Sends by outcome: `sent`, or the code of the refusal."""
    acknowledged: int = 0
    delivery: Spread = field(default_factory=Spread)
    """From a commit (or the ring of another node's) until the device's acknowledgement is durable;
    of each connection one message at a time is looked at."""
    ring: Spread = field(default_factory=Spread)
    """From a ring until what it announced is written to its connections."""
    closes: Counter[str] = field(default_factory=lambda: Counter(gone=0, rate=0))
    """Connections by how the server ended them; `gone` if the peer did."""
    lag: Spread = field(default_factory=Spread)
    """How much later than asked for the event loop came back."""


@dataclass(slots=True)
class DoorTally:
    """Of one node's outside."""

    logins: Counter[str] = field(default_factory=lambda: Counter(ok=0, auth_failed=0, busy=0))
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    """HTTP calls by name and status."""
    call_seconds: Spread = field(default_factory=Spread)


@dataclass(slots=True)
class ProviderTally:
    """Of one identity provider: what became of sign-ins, and how it answers."""

    outcomes: Counter[str] = field(
        default_factory=lambda: Counter(proven=0, refused=0, unproven=0, unknown=0)
    )
    answers: int = 0
    failures: int = 0
    trouble: str = ""
    """Why the last question failed; empty once one is answered."""

    def answered(self) -> None:
        """Note an answer, whatever it says."""
        self.answers += 1
        self.trouble = ""

    def failed(self, why: str) -> None:
        """Note that no usable answer came."""
        self.failures += 1
        self.trouble = why
