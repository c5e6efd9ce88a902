"""Faults made by many at once: a flood of guesses, a whole hospital coming back, a full mailbox."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence

from tests.load.ledger import Verdict, latencies
from tests.load.stage import Fault, Stage
from tests.support.server import environment

FLOOD_RATE = 100
"""Wrong logins and guessed codes a second, together."""
WAITING, WAITING_SHORT = 50_000, 600
READERS = 3
"""Who stops reading: a mailbox takes 20,000 rows."""
WRITERS = 6
BURST_RATE = 2_500


async def guess(stage: Stage) -> None:
    """Bots guess logins and codes while clinicians talk, in turn with quiet times."""
    loop = asyncio.get_running_loop()
    length = stage.seconds(5.0, 2.0)
    quiet: list[tuple[float, float]] = []
    flooded: list[tuple[float, float]] = []
    answers = Counter[str]()
    for _ in range(1 if stage.short else 3):
        begun = loop.time()
        await asyncio.sleep(length)
        quiet.append((begun, loop.time()))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.load.guessing", stage.server.url),
            *(str(FLOOD_RATE), str(length)),
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        await process.stdout.readline()  # it has begun
        begun = loop.time()
        said = (await process.communicate())[0]
        flooded.append((begun, loop.time()))
        if process.returncode:
            stage.faults.append("the flood did not flow")
            return
        answers.update(json.loads(said))
    await stage.crowd.history.until_over(1.0)  # what was due just now is on its way
    before, under = _p99(stage, quiet), _p99(stage, flooded)
    told = ", ".join(f"{count} x {what}" for what, count in sorted(answers.items()))
    stage.notes.append(f"p99 {before:.0f} ms in quiet, {under:.0f} ms under guesses ({told})")
    if not stage.short and under > 2 * before:
        stage.faults.append("the p99 more than doubled")


def _p99(stage: Stage, spans: Sequence[tuple[float, float]]) -> float:
    letters = stage.crowd.history.letters.values()
    chosen = [one for one in letters if any(begin <= one.due < end for begin, end in spans)]
    return Verdict(latencies=latencies(chosen)).percentiles()[1]


async def come_back(stage: Stage) -> None:
    """The server is gone for a moment and everybody returns."""
    await stage.pause(1.0, 2.0)
    loop = asyncio.get_running_loop()
    await stage.server.kill()
    await stage.supervisor.restarted(1)
    begun = loop.time()
    await stage.crowd.connected(stage.crowd.online)
    count = len(stage.crowd.online)
    stage.notes.append(f"{count} devices back {loop.time() - begun:.1f} s after the start")


async def stop_reading(stage: Stage) -> None:
    """Some devices stop reading while tens of thousands of messages come for them."""
    crowd, loop = stage.crowd, asyncio.get_running_loop()
    readers, crowd.online = crowd.online[:READERS], crowd.online[READERS:]
    writers, crowd.online = crowd.online[:WRITERS], crowd.online[WRITERS:]
    for reader in readers:
        reader.timed = False
        reader.reading.clear()
    due = loop.time()
    for number in range(WAITING_SHORT if stage.short else WAITING):
        due += 1 / BURST_RATE
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        writers[number % WRITERS].write(readers[number % READERS], due)
    letters = [
        letter
        for letter in crowd.history.letters.values()
        if letter.recipient < READERS and letter.sender < READERS + WRITERS
    ]
    if not await crowd.history.until(lambda: all(one.sent for one in letters), 120.0):
        stage.faults.append("not all of them were acknowledged while nobody read")
    waiting = sum(1 for one in letters if not one.shown)
    stage.notes.append(f"{waiting} waiting")
    for reader in readers:
        reader.reading.set()


FAULTS = (
    Fault("logins and codes guessed", guess, rate=120.0),
    Fault(
        "500 devices come back at once",
        come_back,
        people=520,
        away=20,
        rate=30.0,
        ends=frozenset({-signal.SIGKILL}),
    ),
    Fault("3 devices stop reading, 50,000 waiting", stop_reading, rate=40.0),
)
