"""Figures are summed up once for all who ask, and the seldomer the longer it takes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from miss_server.operating.figures import KEPT, FiguresKept
from miss_server.relay.clock import SystemClock
from miss_server.storage.overview import Figures
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.storage.sqlite.store import prepare
from tests.support.devices import DOMAIN, NOW


class Clock(SystemClock):
    """Stands until it is turned."""

    at = 1000.0

    def steady(self) -> float:
        return self.at


class Slow(SqliteOverview):
    """Takes its time, on that clock; counts how often it was asked."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path)
        self.clock = clock
        self.takes = 0.0
        self.asked = 0
        self.fails = False

    async def figures(self, **how: Any) -> Figures:
        self.asked += 1
        self.clock.at += self.takes
        if self.fails:
            raise OSError("no such database")
        return await super().figures(**how)


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    """Over an empty database."""
    prepare(tmp_path / "miss.sqlite", domain=DOMAIN, now_ms=NOW)
    return Slow(tmp_path / "miss.sqlite", Clock())


async def test_once_for_all_who_ask_and_then_kept(slow: Slow) -> None:
    kept = FiguresKept(slow, slow.clock)
    first, second = await asyncio.gather(kept.get(), kept.get())
    assert first is second
    slow.clock.at += KEPT - 0.1
    assert await kept.get() is first
    assert slow.asked == 1
    slow.clock.at += 0.2
    assert await kept.get() is not first
    assert slow.asked == 2


async def test_what_takes_long_is_kept_longer(slow: Slow) -> None:
    kept = FiguresKept(slow, slow.clock)
    slow.takes = 2.0
    await kept.get()
    slow.clock.at += 199
    await kept.get()
    assert slow.asked == 1
    slow.clock.at += 2
    await kept.get()
    assert slow.asked == 2


async def test_a_failure_is_told_counted_and_tried_again(slow: Slow) -> None:
    kept = FiguresKept(slow, slow.clock)
    slow.fails = True
    for count in (1, 2):
        with pytest.raises(OSError, match="no such database"):
            await kept.get()
        assert kept.failures == count
    slow.fails = False
    assert (await kept.get()).accounts == 0
