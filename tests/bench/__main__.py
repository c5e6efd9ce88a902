"""`make bench`: prints every figure and writes them to bench.json."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    backlog,
    coming_back,
    connections,
    crypto_cost,
    directory_import,
    directory_search,
    drain,
    edition,
    month,
    nodes,
    one_way,
    phone_day,
    readme,
    throughput,
)
from tests.bench.figures import Figure, save, say
from tests.bench.machine import busy, fsync_ms


def _disk(_: bool) -> list[Figure]:
    taken = fsync_ms(Path(tempfile.gettempdir()))
    return [
        Figure("fdatasync of 4 KiB on this disk: p50", taken[len(taken) // 2], "ms"),
        Figure("fdatasync of 4 KiB on this disk: p99", taken[int(len(taken) * 0.99)], "ms"),
    ]


PARTS: dict[str, Callable[[bool], list[Figure]]] = {
    "disk": _disk,
    "crypto_cost": lambda quick: crypto_cost.figures(30 if quick else 300),
    "throughput": lambda quick: throughput.figures(
        runs=1 if quick else 5, seconds=1.0 if quick else 4.0
    ),
    "one_way": lambda quick: one_way.figures(
        runs=1 if quick else 3, seconds=2.0 if quick else 10.0
    ),
    "connections": lambda quick: connections.figures(
        runs=1 if quick else 3, connections=1_000 if quick else connections.CONNECTIONS
    ),
    "drain": lambda quick: drain.figures(
        runs=1 if quick else 3, waiting=1_000 if quick else drain.WAITING
    ),
    "backlog": lambda quick: backlog.figures(
        runs=1 if quick else 3,
        seconds=1.0 if quick else 4.0,
        devices=5_000 if quick else backlog.DEVICES,
    ),
    "phone_day": lambda quick: phone_day.figures(messages=4 if quick else phone_day.MESSAGES),
    "postgres": lambda quick: throughput.figures(
        runs=1 if quick else 5, seconds=1.0 if quick else 4.0, only="in flight", engine="postgres"
    ),
    "nodes": lambda quick: nodes.figures(
        runs=1 if quick else 3, seconds=1.0 if quick else 4.0, loop_seconds=2.0 if quick else 10.0
    ),
    "coming_back": lambda quick: coming_back.figures(
        connections=1_000 if quick else coming_back.CONNECTIONS,
        idle_seconds=5.0 if quick else 30.0,
    ),
    "directory_import": lambda quick: directory_import.figures(
        lines=20_000 if quick else edition.LINES,
        alone=3.0 if quick else directory_import.ALONE_SECONDS,
    ),
    "directory_search": lambda quick: directory_search.figures(
        lines=20_000 if quick else edition.LINES,
        seconds=2.0 if quick else directory_search.SECONDS,
    ),
    "month": lambda quick: month.figures(share=0.005 if quick else 1.0),
}
"""What each part measures; the argument asks for a quick look."""
LONG = {"coming_back", "directory_import", "directory_search", "month"}
"""Parts that are measured only if they are named: minutes, and a quarter of an hour."""


def main() -> None:
    """Measure everything that is not long, or the part that is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=[*PARTS, ""], default="", help="one part")
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--write", action="store_true", help="also into the README of the bench")
    chosen = parser.parse_args()
    sys.stdout.write(busy())
    for name, part in PARTS.items():
        if chosen.only == name or (not chosen.only and name not in LONG):
            sys.stdout.write(f"--- {name}\n")
            figures = part(chosen.quick)
            say(figures)
            save(figures, Path("bench.json"))
    if chosen.write:
        readme.write(Path("bench.json"))


if __name__ == "__main__":
    main()
