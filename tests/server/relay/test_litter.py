"""Who comes and goes leaves nothing behind that only the collector could free."""

from collections import Counter
from pathlib import Path

import httpx2

from miss_protocol import frames as f
from tests.support.server import ServerProcess
from tests.support.wire import enrolled

TIMES = 70
"""More often than anything else that makes garbage once, at the start or the end: each route does.
A device may log in 240 times a minute."""


async def test_a_connection_that_ends_is_freed_at_once(tmp_path: Path) -> None:
    litter = tmp_path / "litter"
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "log",
        module="tests.support.littering",
        settings={"LITTER": str(litter)},
    )
    await server.start()
    gp, nurse = await enrolled(server), await enrolled(server)
    async with httpx2.AsyncClient() as http:
        for _ in range(TIMES):
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
    left = Counter(litter.read_text().splitlines())
    often = {name: count for name, count in left.items() if count >= TIMES}
    assert not often, often
