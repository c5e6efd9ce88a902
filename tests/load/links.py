"""Faults of the network that need no root: every phone goes through a bad proxy."""

import asyncio

from tests.load.phone import Manners
from tests.load.stage import Fault, Stage
from tests.support.badproxy import Weather


async def go_silent(stage: Stage) -> None:
    """Every connection stays open and carries nothing any more; new ones work after a while."""
    assert stage.proxy is not None
    history = stage.crowd.history
    for _ in range(1 if stage.short else 3):
        await stage.pause(0.5, 1.0)
        everybody = history.logins + len(stage.crowd.online)
        stage.proxy.weather.silent = True
        await asyncio.sleep(stage.seconds(4.0, 1.0))
        stage.proxy.weather.silent = False
        if not await history.came_back(everybody, 60.0):
            stage.faults.append("a device did not notice that its connection was dead")


async def stay_bad(stage: Stage) -> None:
    """The weather is bad all the time."""
    await stage.pause(1.0, 2.0)


async def cut(stage: Stage) -> None:
    """Connections break off in the midst of frames."""
    await stage.pause(1.0, 2.0)
    assert stage.proxy is not None
    if not stage.proxy.cuts:
        stage.faults.append("nothing was cut")
    stage.notes.append(f"{stage.proxy.cuts} cuts")


FAULTS = (
    Fault(
        "half-open sockets",
        go_silent,
        weather=Weather(),
        manners=Manners(ping_every=1.0, patience=2.0),
    ),
    Fault(
        "link of 2 KB/s",
        stay_bad,
        people=12,
        rate=6.0,
        talk=(20.0, 6.0),
        weather=Weather(bytes_per_second=2_000, piece=256),
        manners=Manners(ping_every=30.0, patience=60.0),
    ),
    Fault("bytes in drips", stay_bad, people=20, rate=10.0, weather=Weather(piece=3)),
    Fault("bytes cut off", cut, weather=Weather(delay=0.01, cut_after=20_000)),
)
