"""What a message costs while 600,000 others wait for absent devices: `python -m tests.bench.backlog`.

The same 200 connections send to each other on two databases: one that only knows them, and one in
which 50,000 further devices have twelve messages each waiting.
"""

import argparse
import gc
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.bench import throughput
from tests.bench.figures import Bar, Figure, medians, save, say
from tests.bench.filling import fill
from tests.bench.population import populate
from tests.bench.throughput import Case, Load, measure

DEVICES, EACH = 50_000, 12
TOGETHER = 4
"""Recipients of one message in the backlog: a conversation of five."""
CASE = Case("whole path, 8 in flight", 8)


def figures(
    *,
    runs: int = 3,
    seconds: float = 4.0,
    devices: int = DEVICES,
    connections: int = throughput.CONNECTIONS,
) -> list[Figure]:
    """Medians over `runs`, on either database in turns."""
    with tempfile.TemporaryDirectory(prefix="miss-bench-") as folder:
        light = throughput.prepare(Path(folder), [CASE], seconds, connections)
        heavy = replace(light, folder=Path(folder) / "heavy")
        heavy.folder.mkdir()
        shutil.copy(light.template, heavy.template)
        sender, *absent = populate(heavy.template, devices + 1, keys=False)
        fill(heavy.template, sender, absent, EACH, together=TOGETHER)
        try:
            measured = [_compare(light, heavy, seconds, devices * EACH) for _ in range(runs)]
        finally:
            gc.unfreeze()
    return medians(measured)


def _compare(light: Load, heavy: Load, seconds: float, rows: int) -> list[Figure]:
    wall_without, cpu_without, *_ = uvloop.run(measure(light, CASE, seconds))
    wall_with, cpu_with, *_ = uvloop.run(measure(heavy, CASE, seconds))
    name = f"with {rows:,} rows waiting"
    return [
        Figure(f"{name}: wall", wall_with.value, "msg/s"),
        Figure(f"{name}: per server CPU-second", cpu_with.value, "msg/cpu-s"),
        Figure(
            f"{name}: time per message, of that without",
            wall_without.value / wall_with.value,
            "times",
            Bar(2, at_most=True),
        ),
        Figure(
            f"{name}: server CPU per message, of that without",
            cpu_without.value / cpu_with.value,
            "times",
            Bar(2, at_most=True),
        ),
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--devices", type=int, default=DEVICES)
    chosen = parser.parse_args()
    found = figures(runs=chosen.runs, seconds=chosen.seconds, devices=chosen.devices)
    say(found)
    save(found, Path("bench.json"))


if __name__ == "__main__":
    main()
