"""The verdict on a run: what was lost, doubled or passed over in silence, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.load.history import History, Letter, Read


@dataclass
class Verdict:
    """One or several runs of one fault."""

    messages: int = 0
    lost: int = 0
    """Acknowledged to the sender, never shown, and the sender was not told."""
    doubled: int = 0
    """Shown twice to the same user."""
    silent: int = 0
    """Positions that a mailbox skipped, messages of which the sender never heard an end, and reads
    that a reader gave and the sender never heard of."""
    told: int = 0
    """Not delivered, and the sender was told so."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the moment a message was due until it was shown."""
    faults: list[str] = field(default_factory=list)
    """Whatever else went wrong."""
    notes: list[str] = field(default_factory=list)
    """What the fault itself measured."""

    @property
    def holds(self) -> bool:
        """Whether everything that is promised was kept."""
        return not (self.lost or self.doubled or self.silent or self.told or self.faults)

    def __str__(self) -> str:
        p50, p99, longest = self.percentiles()
        return (
            f"{self.messages} messages, lost {self.lost}, doubled {self.doubled}, silent gaps"
            f" {self.silent}, told {self.told}, p50 {p50:.0f} p99 {p99:.0f} max {longest:.0f} ms"
            f" {'; '.join([*self.notes, *self.faults])}"
        )

    def percentiles(self) -> tuple[float, float, float]:
        """p50, p99 and the longest latency, in milliseconds."""
        if not self.latencies:
            return 0.0, 0.0, 0.0
        ordered = sorted(self.latencies)
        return (
            ordered[len(ordered) // 2] * 1000,
            ordered[int(len(ordered) * 0.99)] * 1000,
            ordered[-1] * 1000,
        )


def judge(history: History) -> Verdict:
    """Judge a run that is over."""
    letters = list(history.letters.values())
    skipped = sum(1 for text in history.broken if text.startswith("skipped"))
    return Verdict(
        messages=len(letters),
        lost=sum(1 for letter in letters if _is_lost(letter)),
        doubled=sum(len(letter.shown) - 1 for letter in letters if len(letter.shown) > 1),
        silent=skipped + sum(1 for letter in letters if not letter.end or _is_unheard(letter.read)),
        told=sum(1 for letter in letters if letter.end not in ("", "delivered")),
        latencies=latencies(letters),
        faults=sorted({text for text in history.broken if not text.startswith("skipped")}),
    )


def latencies(letters: Sequence[Letter]) -> list[float]:
    """From the moment each was due, so that a generator that is held up hides nothing."""
    return [one.shown[0] - one.due for one in letters if one.timed and one.shown]


def _is_lost(letter: Letter) -> bool:
    return letter.sent is not None and not letter.shown and letter.end in ("", "delivered")


def _is_unheard(read: Read | None) -> bool:
    return read is not None and not read.told and not read.at_risk


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Several runs as one."""
    total = Verdict()
    for one in verdicts:
        total.messages += one.messages
        total.lost += one.lost
        total.doubled += one.doubled
        total.silent += one.silent
        total.told += one.told
        total.latencies += one.latencies
        total.faults += one.faults
        total.notes += one.notes
    return total
