"""Writes the figures of bench.json into README.md and growth.svg beside this file."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.plot import Curve, svg

HERE = Path(__file__).parent
_GROWTH = re.compile(r"growth, ([^:]+): ([\d,]+)")

Rows = Sequence[dict[str, Any]]


def write(figures: Path, folder: Path = HERE) -> None:
    """Write what was measured; parts that were not stay as they are."""
    rows: Rows = json.loads(figures.read_text())
    readme = folder / "README.md"
    text = readme.read_text()
    plain = [row for row in rows if not _GROWTH.fullmatch(row["name"])]
    growth = [row for row in rows if _GROWTH.fullmatch(row["name"])]
    if plain:
        text = _between(text, "figures", figure_table(plain))
    if growth:
        text = _between(text, "growth", growth_table(growth))
        (folder / "growth.svg").write_text(plot(growth))
    readme.write_text(text)


def figure_table(rows: Rows) -> str:
    """Every figure with its bar."""
    lines = ["| figure | value | runs | bar | reached |", "|---|---:|---|---|---|"]
    for row in rows:
        spread = "" if row["lowest"] is None else f"{row['lowest']:,g} to {row['highest']:,g}"
        reached = {None: "", True: "yes", False: "**no**"}[row["reached"]]
        lines.append(
            f"| {row['name']} | {row['value']:,g} {row['unit']} | {spread} | {row['bar'] or ''}"
            f" | {reached} |"
        )
    return "\n".join([*lines, "", _where(rows)])


def growth_table(rows: Rows) -> str:
    """The cost at each point, and against the first of its axis."""
    lines = ["| what grows | to | CPU per message | of the first |", "|---|---:|---:|---:|"]
    first: dict[str, float] = {}
    for row in rows:
        axis, quantity = _axis(row)
        first.setdefault(axis, row["value"])
        lines.append(
            f"| {axis} | {quantity:,} | {row['value']:.0f} us | {row['value'] / first[axis]:.2f} |"
        )
    return "\n".join([*lines, "", "![The same as a plot](growth.svg)", "", _where(rows)])


def plot(rows: Rows) -> str:
    """The same as a picture."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        axis, quantity = _axis(row)
        curves.setdefault(axis, []).append((quantity, row["value"]))
    return svg(
        [Curve(axis, points) for axis, points in curves.items()],
        unit="microseconds of server CPU per message",
    )


def _axis(row: dict[str, Any]) -> tuple[str, int]:
    found = _GROWTH.fullmatch(row["name"])
    assert found is not None
    return found[1], int(found[2].replace(",", ""))


def _where(rows: Rows) -> str:
    commits = sorted({row["commit"] for row in rows})
    machines = sorted({row["machine"] for row in rows})
    return f"Commit {', '.join(commits)}; {'; '.join(machines)}."


def _between(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the README has no place for {name}")
    return f"{before}{begin}\n{table}\n{end}{after}"
