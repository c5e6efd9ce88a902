"""The benchmarks run: one short look at each, for no figure's sake but so that none rots."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

from tests.bench import (
    backlog,
    connections,
    crypto_cost,
    drain,
    growth,
    one_way,
    phone_day,
    readme,
    soak,
    throughput,
)
from tests.bench.figures import Bar, Figure, save
from tests.bench.slow_disk import DELAY_SECONDS


def test_throughput_on_a_slow_disk() -> None:
    [wall, per_cpu, *cores] = throughput.figures(
        runs=1, seconds=0.3, only="whole path, 1 in flight, fsync + 3 ms", connections=10
    )
    assert wall.value > 0
    assert per_cpu.value > 0
    assert all(figure.value > 0 for figure in cores)
    # Ten senders have one send each in flight, and each `sent` waits for an fsync.
    assert wall.value < 10 / DELAY_SECONDS


def test_profile() -> None:
    table = throughput.profile(throughput.CASES[1], 0.3, connections=10)
    assert "miss-writer" in table
    assert "MainThread" in table


def test_connections() -> None:
    [memory, wall, per_cpu] = connections.figures(runs=1, connections=30)
    assert memory.unit == "KiB"
    assert wall.value > 0
    assert per_cpu.value > 0


def test_one_way() -> None:
    [p50, p99, cores] = one_way.figures(runs=1, connections=10, seconds=0.1)
    assert 0 < p50.value <= p99.value
    assert cores.value > 0


def test_crypto_cost() -> None:
    assert all(figure.value > 0 for figure in crypto_cost.figures(rounds=2))


def test_drain() -> None:
    [wall, cpu, memory] = drain.figures(runs=1, waiting=600)
    assert wall.value > 0
    assert cpu.value >= 0
    assert memory.unit == "MiB"


def test_backlog() -> None:
    figures = backlog.figures(runs=1, seconds=0.2, devices=8, connections=10)
    assert all(figure.value > 0 for figure in figures)


def test_phone_day() -> None:
    figures = phone_day.figures(messages=2, pings=3)
    assert all(figure.value > 0 for figure in figures)


def test_growth_and_what_is_written_of_it(tmp_path: Path) -> None:
    scale = growth.Scale((), (12,), (2,), active=10, seconds=0.1)
    found = growth.figures(runs=1, scale=scale)
    wall = Figure("drain: wall", 4.0, "s", Bar(3, at_most=True), (3.5, 4.5))
    save([wall, *found], tmp_path / "bench.json")
    shutil.copy(readme.HERE / "README.md", tmp_path)
    readme.write(tmp_path / "bench.json", tmp_path)
    written = (tmp_path / "README.md").read_text()
    assert "Not measured yet" not in written
    assert "| drain: wall | 4 s | 3.5 to 4.5 | at most 3 | **no** |" in written
    assert "| connections | 12 |" in written
    plot = ElementTree.parse(tmp_path / "growth.svg")  # noqa: S314  # we wrote it ourselves
    assert len(plot.findall(".//{*}polyline")) == 2


def test_soak() -> None:
    figures = soak.figures(seconds=2, devices=8, rate=50, kept=1)
    assert figures[0].value > 0
    left = [figure.value for figure in figures if figure.unit == "rows"]
    assert left == [0, 0, 0]
