"""The table of `tests/README.md`: written by the run, never by hand."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench.machine import commit, machine
from tests.load.ledger import Verdict

README = Path(__file__).parents[1] / "README.md"
_HEAD = (
    "| fault | runs | messages | lost | doubled | silent gaps | p50 ms | p99 ms | max ms | |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
)


def rows(results: Sequence[tuple[str, int, Verdict]]) -> list[str]:
    """A line for each (fault, runs, verdict)."""
    lines = list(_HEAD)
    for name, runs, verdict in results:
        p50, p99, longest = verdict.percentiles()
        wrong = [
            *verdict.faults,
            *([f"{verdict.told} not delivered, told"] if verdict.told else []),
        ]
        remarks = "<br>".join([*verdict.notes, *(f"**{fault}**" for fault in wrong)])
        lines.append(
            f"| {name} | {runs} | {verdict.messages} | {verdict.lost} | {verdict.doubled}"
            f" | {verdict.silent} | {p50:.0f} | {p99:.0f} | {longest:.0f} | {remarks} |"
        )
    return lines


def write(
    results: Sequence[tuple[str, int, Verdict]], command: str, seconds: float, place: str = "faults"
) -> None:
    """Put the table in the place of the former one, which two comments named `place` enclose."""
    begin, end = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    text = README.read_text()
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    origin = f"Written by `{command}` in {seconds / 60:.0f} minutes, at commit {commit()}, on {machine()}."
    README.write_text("\n".join([before + begin, "", origin, "", *rows(results), "", end]) + after)
