"""A measured figure, the bar it is held against, and the median of several runs of it."""

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import commit, machine


@dataclass(frozen=True)
class Bar:
    """What a figure must at least, or may at most, be; and what is hoped for."""

    limit: float
    at_most: bool = False
    aim: float | None = None

    def met_by(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        text = f"at {'most' if self.at_most else 'least'} {self.limit:,g}"
        return text if self.aim is None else f"{text}, aim {self.aim:,g}"


@dataclass(frozen=True)
class Figure:
    """One number; `spread` is the lowest and highest of the runs of which it is the median."""

    name: str
    value: float
    unit: str
    bar: Bar | None = None
    spread: tuple[float, float] | None = None

    def line(self) -> str:
        """For the terminal."""
        text = f"{self.name:<62} {self.value:12,.2f} {self.unit:<8}"
        if self.spread is not None:
            text += f" ({self.spread[0]:,.2f} to {self.spread[1]:,.2f})"
        if self.bar is not None:
            text += f"  {'reached' if self.bar.met_by(self.value) else 'MISSED'}: {self.bar}"
        return text.rstrip()

    def record(self, what: str, where: str) -> dict[str, object]:
        """For bench.json."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "bar": None if self.bar is None else str(self.bar),
            "reached": None if self.bar is None else self.bar.met_by(self.value),
            "lowest": None if self.spread is None else round(self.spread[0], 3),
            "highest": None if self.spread is None else round(self.spread[1], 3),
            "commit": what,
            "machine": where,
        }


def medians(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The median of each figure; every run has the same figures in the same order."""
    out: list[Figure] = []
    for same in zip(*runs, strict=True):
        values = [figure.value for figure in same]
        first = same[0]
        spread = (min(values), max(values)) if len(values) > 1 else None
        out.append(Figure(first.name, statistics.median(values), first.unit, first.bar, spread))
    return out


def say(figures: Iterable[Figure]) -> None:
    """Print figures as they are known."""
    for figure in figures:
        sys.stdout.write(figure.line() + "\n")
    sys.stdout.flush()


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write into bench.json: what is there under other names stays."""
    what, where = commit(), machine()
    rows: dict[str, dict[str, object]] = {}
    if path.exists():
        rows = {row["name"]: row for row in json.loads(path.read_text())}
    for figure in figures:
        rows[figure.name] = figure.record(what, where)
    path.write_text(json.dumps([*rows.values()], indent=1) + "\n")
