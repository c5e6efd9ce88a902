"""Writes the figures of bench.json into README.md and the plots beside this file.

What was not measured again stays as it is written there, with the commit at which it was: nobody
measures everything at once. A row whose figure is no more is taken out by hand.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.plot import Curve, svg

HERE = Path(__file__).parent
_GROWTH = re.compile(r"(?:postgres )?growth, ([^:]+): ([\d,]+)(: PostgreSQL's part)?")
_WHERE = re.compile(r"\* ([\w-]+): .+")
_FIGURES = ("| figure | value | runs | bar | reached | at |", "|---|---:|---|---|---|---|")
_COSTS = (
    "| what grows | to | CPU per message | of the first | PostgreSQL's part | at |",
    "|---|---:|---:|---:|---:|---|",
)

Rows = Sequence[dict[str, Any]]


def write(figures: Path, folder: Path = HERE) -> None:
    """Write what was measured; everything else stays as it is."""
    rows: Rows = json.loads(figures.read_text())
    readme = folder / "README.md"
    text = readme.read_text()
    for place, beginning in (("growth", "growth, "), ("growth-postgres", "postgres growth, ")):
        chosen = [row for row in rows if row["name"].startswith(beginning)]
        if chosen:
            costs = merged(chosen, _inside(text, place))
            picture = folder / f"{place}.svg"
            picture.write_text(plot(costs))
            table = growth_table(costs, picture.name)
            text = _between(text, place, f"{table}\n\n{_where(table, chosen, text)}")
    plain = [row for row in rows if not _GROWTH.fullmatch(row["name"])]
    for place, chosen in (
        ("figures", [row for row in plain if not row["name"].startswith("postgres, ")]),
        ("postgres", [row for row in plain if row["name"].startswith("postgres, ")]),
    ):
        if chosen:
            table = figure_table(chosen, _inside(text, place))
            text = _between(text, place, f"{table}\n\n{_where(table, chosen, text)}")
    readme.write_text(text)


def figure_table(rows: Rows, before: str = "") -> str:
    """Every figure with its bar, and those that the table had `before`."""
    lines = _lines(before)
    names = [_cells(line)[0] for line in lines]
    place = len(names)
    for row in rows:
        if row["name"] in names:
            place = names.index(row["name"])
            lines[place] = _figure_line(row)
        else:
            names.insert(place, row["name"])
            lines.insert(place, _figure_line(row))
        place += 1
    return "\n".join([*_FIGURES, *lines])


def _figure_line(row: dict[str, Any]) -> str:
    spread = "" if row["lowest"] is None else f"{row['lowest']:,g} to {row['highest']:,g}"
    reached = {None: "", True: "yes", False: "**no**"}[row["reached"]]
    return (
        f"| {row['name']} | {row['value']:,g} {row['unit']} | {spread} | {row['bar'] or ''}"
        f" | {reached} | {row['commit']} |"
    )


# --- growth -------------------------------------------------------------------------------------


@dataclass
class Cost:
    """Microseconds of CPU time for a message when something is so large; `part` is PostgreSQL's."""

    value: float
    commit: str
    part: float | None = None


Costs = dict[str, dict[int, Cost]]
"""By what grows, and to what."""


def merged(rows: Rows, before: str = "") -> Costs:
    """What was measured, and of what the table had `before` the axes that were not."""
    costs: Costs = {}
    for line in _lines(before):
        axis, quantity, value, _, part, at = _cells(line)
        here = costs.setdefault(axis, {})
        here[_number(quantity)] = Cost(_number(value), at, _number(part) if part else None)
    measured: Costs = {}
    for row in rows:
        found = _GROWTH.fullmatch(row["name"])
        assert found is not None
        here, point = measured.setdefault(found[1], {}), _number(found[2])
        if found[3]:
            here[point].part = row["value"]
        else:
            here[point] = Cost(row["value"], row["commit"])
    return costs | measured


def growth_table(costs: Costs, picture: str) -> str:
    """The cost at each point, and against the first of its axis."""
    lines = [*_COSTS]
    for axis, points in costs.items():
        first, *_ = points.values()
        for quantity, cost in points.items():
            part = "" if cost.part is None else f"{cost.part:.0f} us"
            lines.append(
                f"| {axis} | {quantity:,} | {cost.value:.0f} us | {cost.value / first.value:.2f}"
                f" | {part} | {cost.commit} |"
            )
    return "\n".join([*lines, "", f"![The same as a plot]({picture})"])


def plot(costs: Costs) -> str:
    """The same as a picture."""
    return svg(
        [
            Curve(axis, [(quantity, cost.value) for quantity, cost in points.items()])
            for axis, points in costs.items()
        ],
        unit="microseconds of CPU per message",
    )


# --- what is there ------------------------------------------------------------------------------


def _lines(table: str) -> list[str]:
    """The rows of a table, without its head."""
    return [line for line in table.splitlines() if line.startswith("| ")][1:]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def _number(text: str) -> int:
    return int(text.removesuffix(" us").replace(",", ""))


def _where(table: str, rows: Rows, text: str) -> str:
    """The machine of each commit that the table has, if it was another machine in a line each."""
    known = {found[0]: found[1] for found in _WHERE.finditer(text)}
    known |= {f"* {row['commit']}: {row['machine']}": row["commit"] for row in rows}
    used = {_cells(line)[-1] for line in _lines(table)}
    return "\n".join(line for line, commit in known.items() if commit in used)


def _inside(text: str, name: str) -> str:
    return _split(text, name)[1]


def _between(text: str, name: str, table: str) -> str:
    before, _, after = _split(text, name)
    return f"{before}\n{table}\n{after}"


def _split(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    inside, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the README has no place for {name}")
    return before + begin, inside, end + after
