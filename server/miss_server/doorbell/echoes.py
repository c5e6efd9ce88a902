"""How long a node's own words take to come back to it: as long as any ring takes to the others."""

from collections import deque

SLOW_SECONDS = 0.5
"""Beyond, people who talk across nodes feel it; a line that is well takes a millisecond."""
WELL_SECONDS = 0.25
"""Below, it is well again: between the two nothing changes."""
IN_A_ROW = 3
"""So many must say the same: one late word may be this node's own doing."""


class Echoes:
    """Of one connection. All times are of one clock, in seconds; `slow` is the verdict."""

    def __init__(self) -> None:
        self.slow = False
        self._under_way: deque[tuple[int, float]] = deque()
        self._in_a_row = 0

    def said(self, number: int, now: float) -> None:
        """The word of this number, which is above every former one, is being said."""
        self._under_way.append((number, now))

    def heard(self, number: int, now: float) -> None:
        """It came back, or a piece of it. Those before it that did not are lost."""
        while self._under_way and self._under_way[0][0] <= number:
            its_number, begun = self._under_way.popleft()
            if its_number == number:
                self._judge(now - begun)

    def _judge(self, took: float) -> None:
        other = took < WELL_SECONDS if self.slow else took > SLOW_SECONDS
        self._in_a_row = self._in_a_row + 1 if other else 0
        if self._in_a_row == IN_A_ROW:
            self.slow, self._in_a_row = not self.slow, 0
