"""What another node did, or lost to tell, is found in the store: hints are believed only with it."""

from pathlib import Path

from miss_protocol import frames as f
from miss_protocol.digest import EMPTY
from miss_protocol.errors import CloseCode
from miss_server.doorbell.interface import News
from miss_server.storage.messages import Greeting, SessionStart
from tests.support.hosted import Hosted, hosted
from tests.support.wire import Device, beside, enrolled, now_ms


async def begin_elsewhere(server: Hosted, device: Device) -> SessionStart:
    """Begin a session of a device as another node would."""
    async with beside(server) as store:
        start = await store.begin_session(
            Greeting(device.id, 0, EMPTY, device.sn, device.epoch, 1, "test"), now_ms=now_ms()
        )
    assert isinstance(start, SessionStart)
    return start


async def test_a_hint_that_the_store_does_not_confirm_ends_nothing(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp = await enrolled(server)
        async with gp.online() as line:
            await line.caught_up()
            sweep = server.services.sweep
            for news in (
                News(sessions=[(gp.id, 2**60), (gp.id, 0)]),
                News(everything=True),
                News(devices=[gp.id]),
            ):
                sweep.hear(news)
                assert sweep._task is not None or not news.sessions
                while sweep._task is not None:
                    await sweep._task  # the hint is looked at
            await sweep.look()
            await line.ping()
            assert sweep.found == 0


async def test_a_session_that_began_elsewhere_ends_this_one(tmp_path: Path) -> None:
    async with hosted(tmp_path, sweep_every=3600) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as told, nurse.online() as untold:
            await told.caught_up()
            await untold.caught_up()
            start = await begin_elsewhere(server, gp)
            await begin_elsewhere(server, nurse)
            server.services.sweep.hear(News(sessions=[(gp.id, start.generation)]))
            assert await told.closed() == CloseCode.REPLACED
            # Nobody told of this one: whether the other client still lives is not known.
            await untold.ping()
            await server.services.sweep.look()
            assert await untold.closed() == CloseCode.TRY_LATER


async def test_what_nobody_rang_for_is_found_and_counted(tmp_path: Path) -> None:
    async with hosted(tmp_path, sweep_every=3600) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        async with gp.online() as writer, nurse.online() as reader:
            await writer.caught_up()
            await reader.caught_up()
            server.services.hub.hand_over = lambda rows: []  # type: ignore[method-assign]
            send = gp.send(nurse.person)
            assert isinstance(await writer.settle(send), f.Sent)
            await server.services.sweep.look()
            [row] = await reader.deliveries(1)
            assert row.id == send.id
            assert server.services.sweep.found == 1
            await server.services.sweep.look()
            assert server.services.sweep.found == 1
