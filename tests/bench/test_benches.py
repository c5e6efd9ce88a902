"""The benchmarks run: one short look at each, for no figure's sake but so that none rots."""

from tests.bench import throughput
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
