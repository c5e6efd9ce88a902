"""Lines of a file that cannot be used, or only with a warning."""

from collections import Counter
from dataclasses import dataclass, field

LISTED_MAX = 100
"""Lines that are kept for the report; all are counted."""


@dataclass(slots=True)
class Faults:
    """Lines that were left out, or kept with a warning, and why. Line 1 is the header."""

    count: int = 0
    listed: list[tuple[str, int, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, line: int, reason: str) -> None:
        """Count a line; the first `LISTED_MAX` are kept one by one."""
        self.count += 1
        self.reasons[reason] += 1
        if len(self.listed) < LISTED_MAX:
            self.listed.append((file, line, reason))
