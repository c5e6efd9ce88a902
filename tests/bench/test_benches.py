"""The benchmarks run: one short look at each, for no figure's sake but so that none rots."""

from tests.bench import backlog, connections, crypto_cost, drain, one_way, phone_day, throughput
from tests.bench.slow_disk import DELAY_SECONDS


def test_throughput_on_a_slow_disk() -> None:
    [wall, per_cpu, cores] = throughput.figures(
        runs=1, seconds=0.3, only="whole path, 1 in flight, fsync + 3 ms", connections=10
    )
    assert wall.value > 0
    assert per_cpu.value > 0
    assert cores.value > 0
    # Ten senders have one send each in flight, and each `sent` waits for an fsync.
    assert wall.value < 10 / DELAY_SECONDS


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
