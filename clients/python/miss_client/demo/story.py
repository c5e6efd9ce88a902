"""The whole story, in order, against a real server process."""

import tempfile
from pathlib import Path

from miss_client.demo import meeting, refusing, talking
from miss_client.demo.narrator import Narrator
from miss_client.demo.stage import Stage
from miss_client.line import Line
from miss_client.words import tr


async def play(narrator: Narrator) -> None:
    """Play it.

    Raises:
        StoryBroken: something that it promises did not happen.
    """
    with tempfile.TemporaryDirectory(prefix="miss-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            codes = await meeting.prepare(narrator, stage)
            async with Line("127.0.0.1", stage.port) as line:
                cast = await meeting.enrol_all(narrator, stage, line, codes)
                try:
                    await meeting.find(narrator, cast)
                    await talking.survive(narrator, stage, cast)
                    await talking.answer(narrator, cast)
                    await refusing.refuse(narrator, stage, cast)
                    refusing.search_disk(narrator, stage, cast)
                finally:
                    for device in cast.devices():
                        await device.leave()
        finally:
            await stage.stop()
    narrator.say("")
    narrator.say(
        tr(
            f"{narrator.checked} things checked in {narrator.seconds:.1f} s. "
            "Next: README, “By hand”.",
            f"{narrator.checked} points vérifiés en {narrator.seconds:.1f} s. "
            "Suite : README, « À la main ».",
        )
    )
