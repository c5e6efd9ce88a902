"""Plays that tests run as they are, and the mutation gate with a fault in every process they start.

Each raises what a test fails with; `KILLERS` has those that the gate's faults name.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from miss_client.events import MessageReceived, Restored
from tests.clients.conftest import until
from tests.crash.homes import TEXTS, Homes, move_in
from tests.crash.points import PLAYS
from tests.crash.stage import Base, Play, Stage
from tests.mutation.played_faults import put_in
from tests.support.forks import Forks
from tests.support.points import CRASHED


async def prepare(play: Play, stage: Stage) -> None:
    """What was before a play."""
    if type(play).prepare is not Play.prepare:
        await stage.start()
        await play.prepare(stage)
        await stage.server.kill()


async def cut_and_go_on(stage: Stage, name: str, point: str, nth: int) -> None:
    """End the server at a point of a play; then what was promised holds."""
    play = PLAYS[name]()
    await prepare(play, stage)
    status = await play.cut(stage, "--at", point, "--nth", str(nth))
    assert status == CRASHED, f"the play never came to its point: {stage.server.log_text()}"
    stage.check_file()
    await stage.start(*play.options)
    await play.act(stage)
    await play.check(stage)
    await stage.server.kill()
    assert "Traceback" not in stage.server.log_text()
    stage.check_file()


async def die_and_go_on(homes: Homes, program: str, point: str, nth: int) -> None:
    """End a client at a point; then nothing is lost and nothing is there twice."""
    assert await homes.run(program, "--at", point, "--nth", str(nth)) == CRASHED
    gp, nurse = homes.open("gp"), homes.open("nurse")
    written = [message.text for message in gp.messages()]
    if program == "receive" or homes.note.exists():
        assert written == list(TEXTS if program == "receive" else TEXTS[:1])
    async with gp, nurse:
        await nurse.drained()
        for message in gp.messages():
            await gp.wait_for_state(message.id, "delivered")  # type: ignore[arg-type]  # an id
    assert [message.text for message in homes.open("nurse").messages()] == written
    assert not homes.open("gp").vault.entries()


async def restore_and_go_on(homes: Homes) -> None:
    """Put the server's database back to before a message that it called sent."""
    await homes.server.stop()
    backup = homes.folder / "backup"
    shutil.copyfile(homes.server.database, backup)
    await homes.server.start()
    gp, nurse = homes.open("gp"), homes.open("nurse")
    with ExitStack() as stack:
        if homes.fault:
            put_in(homes.fault, stack)
        async with gp:
            id = await gp.send([nurse.account], "trois")
            await gp.wait_for_state(id, "sent")
    await homes.server.stop()
    shutil.copyfile(backup, homes.server.database)
    await homes.server.start()
    gp = homes.open("gp")
    assert gp.vault.entries(), "there is nothing to submit again"
    on_gp, on_nurse = gp.events(), nurse.events()
    async with gp, nurse:
        await until(on_gp, Restored)
        while (await until(on_nurse, MessageReceived)).text != "trois":
            pass
        await gp.wait_for_state(id, "delivered")
    assert [one.text for one in homes.open("nurse").messages()] == [*TEXTS, "trois"]


async def come_back(homes: Homes, point: str) -> None:
    """End the server under two connected clients, which nobody tells."""
    await homes.server.kill()
    homes.server.crashing = ("--at", point)
    await homes.server.start()
    ending = homes.server.process
    gp, nurse = homes.open("gp"), homes.open("nurse")
    assert ending is not None

    async def start_again() -> None:
        assert await ending.wait() == CRASHED
        homes.server.crashing = ()
        await homes.server.start()

    starting = asyncio.create_task(start_again())
    async with gp, nurse:
        await gp.send([nurse.account], "trois")
        for message in gp.messages():
            await gp.wait_for_state(message.id, "delivered")  # type: ignore[arg-type]  # an id
        await starting
        await gp.connected()
    texts = [one.text for one in homes.open("nurse").messages()]
    assert texts == [one.text for one in homes.open("gp").messages()] == [*TEXTS, "trois"]


@dataclass(frozen=True)
class Ground:
    """What a killer starts from."""

    base: Base
    lived_in: Path
    forks: Forks
    folder: Path
    fault: str


async def _no_fetch(ground: Ground) -> None:
    stage = Stage.of(ground.base, ground.folder, ground.forks)
    stage.always = ("--fault", ground.fault)
    try:
        await cut_and_go_on(stage, "http-fetch", "taken POST /v1/mailbox", 1)
    finally:
        await stage.close()


@asynccontextmanager
async def _faulty_homes(ground: Ground) -> AsyncIterator[Homes]:
    folder = ground.folder / "homes"
    homes = await move_in(ground.lived_in, folder, ground.forks, "receive", ground.fault)
    try:
        yield homes
    finally:
        await homes.close()


async def _unsaved(ground: Ground) -> None:
    async with _faulty_homes(ground) as homes:
        await die_and_go_on(homes, "receive", "save.before", 3)


async def _restored(ground: Ground) -> None:
    async with _faulty_homes(ground) as homes:
        await restore_and_go_on(homes)


KILLERS: dict[str, Callable[[Ground], Awaitable[None]]] = {
    "a crash: http-fetch-taken POST /v1/mailbox-1": _no_fetch,
    "a client's end: receive-save.before-3": _unsaved,
    "a restored server gets again what it called sent": _restored,
}
