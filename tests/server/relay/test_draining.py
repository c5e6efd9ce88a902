"""Those who are told to leave come back spread over time, each at its own."""

from pathlib import Path
from random import Random

from miss_protocol import client_session as events
from miss_protocol.errors import CloseCode
from miss_server.listening import BACK_WITHIN
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import hosted
from tests.support.wire import Line, enrolled

COUNT = 40


async def test_each_is_told_another_moment_to_come_back(tmp_path: Path) -> None:
    chance = Random(1)
    async with hosted(tmp_path, SqliteStore, sweep_every=3600) as server:
        device = await enrolled(server)
        lines = [await Line.open(device) for _ in range(COUNT)]
        await server.services.hub.drain(30, lambda: chance.uniform(*BACK_WITHIN))
        told = []
        for line in lines:
            leaving = await line.next(events.Leaving)
            told.append(leaving.bye.retry_after)
            assert await line.closed() == CloseCode.DRAINING
        first, last = BACK_WITHIN
        quarter = (last - first) / 4
        for number in range(4):
            begin = first + number * quarter
            assert any(begin <= each < begin + quarter for each in told), told
        assert len(set(told)) == COUNT
