"""How a command rings the nodes that serve its database, so that they need not wait for their sweep."""

import asyncio
import os
import sys
from collections.abc import Sequence

from miss_protocol.ids import DeviceId
from miss_server.config import Settings
from miss_server.doorbell import words
from miss_server.doorbell.interface import News
from miss_server.doorbell.line import LineDown
from miss_server.lines import line_of
from miss_server.words import tr

RING_SECONDS = 5.0


async def ring_nodes(chosen: Settings, sessions: Sequence[tuple[DeviceId, int]]) -> None:
    """Tell every node that these sessions are over. What is committed holds anyhow: a node that does
    not hear this finds it by its sweep, and lets nothing new through meanwhile."""
    line = line_of(chosen)
    if line is None or not sessions:
        return
    said = words.encode(
        os.urandom(words.SPEAKER_BYTES),
        1,
        News(sessions=tuple(sessions)),
        payload_max=line.payload_max,
    )
    try:
        async with asyncio.timeout(RING_SECONDS):
            await line.open()
            for payload in said:
                await line.say(payload)
    except (LineDown, TimeoutError) as error:
        why = str(error) or tr("no answer", "pas de réponse")
        sys.stderr.write(
            tr(
                f"miss-server: the nodes were not rung ({why}); their sweep finds it\n",
                f"miss-server : les nœuds n'ont pas été prévenus ({why}) ; leur ronde le verra\n",
            )
        )
    finally:
        await line.close()
