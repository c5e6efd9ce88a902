"""The benchmarks run: one short look at each, for no figure's sake but so that none rots."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import (
    backlog,
    coming_back,
    connections,
    crypto_cost,
    directory_import,
    directory_search,
    drain,
    growth,
    growth_postgres,
    month,
    nodes,
    one_way,
    phone_day,
    postgres,
    readme,
    soak,
    throughput,
)
from tests.bench.calendar_month import REGIONS, Month
from tests.bench.figures import Bar, Figure, save
from tests.bench.machine import commit, machine
from tests.bench.slow_disk import DELAY_SECONDS


@pytest.fixture(autouse=True)
def _new_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PostgreSQL: nobody looks at the figures, and to fill it takes seconds and gigabytes each time."""
    monkeypatch.setattr(postgres, "USED_MIB", 1)


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


def test_nodes() -> None:
    found = nodes.figures(
        runs=1, seconds=0.1, active=10, connections=10, loop_seconds=0.1, bells=["redis"]
    )
    assert all(figure.value > 0 for figure in found if "Redis" not in figure.name)
    assert sum("of that of one" in figure.name for figure in found) == 1
    assert sum(figure.name.endswith("p50") for figure in found) == 1


def test_directory_import() -> None:
    found = directory_import.figures(lines=300, alone=0.5)
    assert all(figure.value > 0 for figure in found)
    assert sum("p99 beside it" in figure.name for figure in found) == 4
    [changed] = [figure.value for figure in found if "bytes changed" in figure.name]
    assert changed < 20 * directory_import.PAGE


def test_directory_search() -> None:
    found = directory_search.figures(lines=1_500, count=60, seconds=0.1)
    assert all(figure.value > 0 for figure in found)
    shares = [figure.value for figure in found if figure.unit == "%"]
    assert len(shares) == 2
    assert shares[0] == shares[1] >= 95


@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_month(engine: month.Engine) -> None:
    found = month.figures(share=0.5, engine=engine, accounts=48, messages=600)
    [messages] = [figure.value for figure in found if figure.name.endswith(": messages")]
    assert 250 < messages < 350
    assert all(figure.value > 0 for figure in found)


def test_a_month_is_the_same_each_time() -> None:
    one, other = Month(100, 2_000), Month(100, 2_000)
    for region in range(REGIONS):
        letters = [letter for day in one.days(region) for letter in day]
        assert letters == [letter for day in other.days(region) for letter in day]
        assert {letter.sender % REGIONS for letter in letters} == {region}
        assert any(letter.elsewhere for letter in letters)
        assert all(letter.sender != letter.recipient for letter in letters)


def test_coming_back() -> None:
    found = coming_back.figures(connections=20, workers=2, tls=[True], idle_seconds=0.5)
    assert all(", TLS" in figure.name for figure in found)
    assert all(figure.value > 0 for figure in found if figure.unit in ("s", "1/s"))


def test_growth_and_what_is_written_of_it(tmp_path: Path) -> None:
    scale = growth.Scale((), (12,), (2,), active=10, seconds=0.1)
    found = growth.figures(runs=1, scale=scale)
    wall = Figure("drain: wall", 4.0, "s", Bar(3, at_most=True), (3.5, 4.5))
    save([wall, *found], tmp_path / "bench.json")
    shutil.copy(readme.HERE / "README.md", tmp_path)
    before = rows(tmp_path)
    readme.write(tmp_path / "bench.json", tmp_path)
    after = rows(tmp_path)
    assert f"| drain: wall | 4 s | 3.5 to 4.5 | at most 3 | **no** | {commit()} |" in after
    assert any(row.startswith("| connections | 12 |") for row in after)
    # What was not measured stands as it did; of an axis that was, no old point is left.
    assert any(row.startswith("| accounts | 100,000 |") for row in after)
    assert not any(row.startswith("| connections | 10,000 |") for row in after)
    measured = ("| connections |", "| waiting for each recipient |")
    assert [row for row in before if not row.startswith(measured) and row not in after] == []
    assert f"* {commit()}: {machine()}" in (tmp_path / "README.md").read_text()
    readme.write(tmp_path / "bench.json", tmp_path)
    assert rows(tmp_path) == after
    plot = ElementTree.parse(tmp_path / "growth.svg")  # noqa: S314  # we wrote it ourselves
    assert len(plot.findall(".//{*}polyline")) == 3


def rows(folder: Path) -> list[str]:
    """The rows of all tables of the README there."""
    return [line for line in (folder / "README.md").read_text().splitlines() if line[:2] == "| "]


def test_growth_on_postgres(tmp_path: Path) -> None:
    scale = growth_postgres.Scale((40,), (), (3,), rows=100, active=10, seconds=0.1)
    save(growth_postgres.figures(runs=1, scale=scale), tmp_path / "bench.json")
    shutil.copy(readme.HERE / "README.md", tmp_path)
    readme.write(tmp_path / "bench.json", tmp_path)
    written = rows(tmp_path)
    for axis in ("| accounts | 40 |", "| waiting for each recipient | 3 |"):
        assert any(row.startswith(axis) for row in written)


def test_soak() -> None:
    figures = soak.figures(seconds=2, devices=8, rate=50, kept=1)
    assert figures[0].value > 0
    left = [figure.value for figure in figures if figure.unit == "rows"]
    assert left == [0, 0, 0]
