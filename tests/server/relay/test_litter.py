"""Who comes and goes leaves nothing behind that only the collector could free."""

from collections import Counter
from pathlib import Path

import httpx2

from miss_protocol import frames as f
from tests.support.server import ServerProcess
from tests.support.wire import enrolled

TIMES = 70
"""A device may log in 240 times a minute."""


async def litter_after(folder: Path, times: int) -> Counter[str]:
    """What a server leaves after so many rounds of coming, writing, reading, being replaced, and a call."""
    folder.mkdir()
    litter = folder / "litter"
    server = ServerProcess(
        folder / "miss.sqlite",
        folder / "log",
        module="tests.support.littering",
        settings={"LITTER": str(litter)},
    )
    await server.start()
    gp, nurse = await enrolled(server), await enrolled(server)
    async with httpx2.AsyncClient() as http:
        for _ in range(times):
            async with gp.online() as line:
                send = gp.send(nurse.person)
                await line.put(send)
                assert isinstance(await line.answer(send.sn), f.Sent)
            async with nurse.online() as line:
                await line.deliveries(1)
                line.ws.transport.abort()
            async with gp.online() as older, gp.online():
                await older.closed()  # it was replaced
            answer = await http.get(f"{server.url}/v1/nowhere")
            assert answer.status_code == 404
    assert await server.stop() == 0, server.log_text()
    return Counter(litter.read_text().splitlines())


async def test_a_connection_that_ends_is_freed_at_once(tmp_path: Path) -> None:
    # Routes, and much else, make some once.
    once = await litter_after(tmp_path / "once", 1)
    left = await litter_after(tmp_path / "often", TIMES)
    more = {name: count for name, count in (left - once).items() if count >= TIMES // 2}
    assert not more, more
