"""The table of `tests/README.md`: written by the run, never by hand.

A run of some faults replaces their rows only; each row names the commit that it was played on, and below
the table is the command and the machine of each commit.
"""

from collections.abc import Sequence
from pathlib import Path

from tests.bench.machine import commit, machine
from tests.load.ledger import Verdict

README = Path(__file__).parents[1] / "README.md"
_HEAD = (
    "| fault | runs | messages | lost | doubled | silent gaps | p50 ms | p99 ms | max ms | | at |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|",
)

Results = Sequence[tuple[str, int, Verdict]]


def row(name: str, runs: int, verdict: Verdict, at: str) -> str:
    """The line of a fault."""
    p50, p99, longest = verdict.percentiles()
    wrong = [
        *verdict.faults,
        *([f"{verdict.told} not delivered, told"] if verdict.told else []),
    ]
    remarks = "<br>".join([*verdict.notes, *(f"**{fault}**" for fault in wrong)])
    return (
        f"| {name} | {runs} | {verdict.messages} | {verdict.lost} | {verdict.doubled}"
        f" | {verdict.silent} | {p50:.0f} | {p99:.0f} | {longest:.0f} | {remarks} | {at} |"
    )


def merged(
    former: str, results: Results, names: Sequence[str], command: str, at: str, where: str
) -> list[str]:
    """The lines of the table, and of what it was played on, with these results in it.

    Args:
        former: the text that they replace.
        names: of every fault that there is, in order; others' rows are left out.
        command: that played them, on the commit `at`, on the machine `where`.
    """
    lines = former.splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line[:2] == "| "}
    rows |= {name: row(name, runs, verdict, at) for name, runs, verdict in results}
    shown = [rows[name] for name in names if name in rows]
    origins = {line[2:].split(":")[0]: line for line in lines if line.startswith("* ")}
    origins[at] = f"* {at}: `{command}` on {where}"
    named = {line.rsplit(" | ", 1)[1].removesuffix(" |") for line in shown}
    return [*_HEAD, *shown, "", *(origins[one] for one in origins if one in named)]


def write(results: Results, names: Sequence[str], command: str, place: str = "faults") -> None:
    """Put the results into the table that two comments named `place` enclose."""
    begin, end = f"<!-- {place}: begin -->", f"<!-- {place}: end -->"
    text = README.read_text()
    before, rest = text.split(begin)
    former, after = rest.split(end)
    lines = merged(former, results, names, command, commit(), machine())
    README.write_text("\n".join([before + begin, "", *lines, "", end]) + after)
