"""Faults made by many at once: a flood of guesses, a whole hospital coming back, a full mailbox."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from miss_protocol import limits
from miss_server.http.throttle import SEARCHES_PER_MINUTE
from tests.load.ledger import Verdict, latencies
from tests.load.stage import Fault, Stage
from tests.support.server import environment, miss_server, run_command

FLOOD_RATE = 100
"""Wrong logins and guessed codes a second, together."""
SCRAPE_RATE = 100
"""Searches a second by one device."""
GUESSED_MOST, SCRAPED_MOST = 2.0, 4.0
"""How many times its own in quiet the p99 of those who talk may be under each. A granted search takes 3 ms of
the cores that everybody shares in these plays: with a minute's share of one device taken at once it was four to
five times."""
WAITING, WAITING_SHORT = 50_000, 600
READERS = 3
"""Who stops reading: a mailbox takes 20,000 rows."""
WRITERS = 6
BURST_RATE = 2_500


@dataclass
class Others:
    """A process of `guessing` or `searching`; `begin` it first."""

    process: asyncio.subprocess.Process

    @classmethod
    async def begin(cls, module: str, *words: object) -> "Others":
        """Let it do so; it has begun when this returns."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tests.load.{module}", *map(str, words)),
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        await process.stdout.readline()
        return cls(process)

    async def told(self) -> list[Counter[str]]:
        """How often each of its devices got which answer, once it is done; bots are one."""
        said = (await self.process.communicate())[0]
        if self.process.returncode:
            raise ValueError("the flood did not flow")
        return [Counter(one) for one in json.loads(said)]


def _counted(answers: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in sorted(answers.items()))


async def guess(stage: Stage) -> None:
    """Bots guess logins and codes while clinicians talk."""
    length = stage.seconds(5.0, 2.0)
    [answers] = await _in_turns(
        stage,
        length,
        lambda: Others.begin("guessing", stage.server.url, FLOOD_RATE, length),
        "guesses",
        GUESSED_MOST,
    )
    stage.notes.append(_counted(answers))


async def _in_turns(
    stage: Stage,
    length: float,
    flood: Callable[[], Awaitable[Others]],
    what: str,
    most: float,
) -> list[Counter[str]]:
    """Quiet times and flooded ones in turns, and their p99 beside each other; returns what each
    device of the floods was told in all."""
    loop = asyncio.get_running_loop()
    quiet: list[tuple[float, float]] = []
    flooded: list[tuple[float, float]] = []
    turns: list[list[Counter[str]]] = []
    for _ in range(1 if stage.short else 3):
        begun = loop.time()
        await asyncio.sleep(length)
        quiet.append((begun, loop.time()))
        others = await flood()
        begun = loop.time()
        turns.append(await others.told())
        flooded.append((begun, loop.time()))
    await stage.crowd.history.until_over(1.0)  # what was due just now is on its way
    before, under = _p99(stage, quiet), _p99(stage, flooded)
    stage.notes.append(f"p99 {before:.0f} ms in quiet, {under:.0f} ms under {what}")
    if not stage.short and under > most * before:
        stage.faults.append(f"the p99 grew more than {most:.0f} times")
    return [sum(device, Counter[str]()) for device in zip(*turns, strict=True)]


def _p99(stage: Stage, spans: Sequence[tuple[float, float]]) -> float:
    letters = stage.crowd.history.letters.values()
    chosen = [one for one in letters if any(begin <= one.due < end for begin, end in spans)]
    return Verdict(latencies=latencies(chosen)).percentiles()[1]


async def scrape(stage: Stage) -> None:
    """One device asks for the directory as quickly as it can, while another one searches now and then."""
    await asyncio.to_thread(_import_people, stage)
    first, scraper, other = (
        (phone.device.id.hex(), phone.device.key.encode().hex()) for phone in stage.crowd.online[:3]
    )
    # Nobody has searched yet since the server started: what that costs once is not the flood's.
    await (await Others.begin("searching", stage.server.url, 2.0, *first, 8)).told()
    length = stage.seconds(5.0, 2.0)
    words = (stage.server.url, length, *scraper, SCRAPE_RATE, *other, 1)
    got, others = await _in_turns(
        stage, length, lambda: Others.begin("searching", *words), "searches", SCRAPED_MOST
    )
    stage.notes.append(f"{_counted(got)}; another device: {_counted(others)}")
    # The minute slides, so that a little more than one minute's share may pass.
    if not got["HTTP 429"] or got["HTTP 200"] > 2 * SEARCHES_PER_MINUTE:
        stage.faults.append("the device that scrapes was not limited")
    if set(others) != {"HTTP 200"}:
        stage.faults.append("somebody else's searches were refused")


def _import_people(stage: Stage) -> None:
    register = stage.ground.folder / "register.txt"
    run_command("miss_server", *("directory", "generate", str(register), "--people", "2000"))
    words = ("directory", "import", str(register), "--domain", stage.server.domain)
    miss_server(*words, database=stage.server.database)


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


async def come_back_among_bots(stage: Stage) -> None:
    """The server is gone for a moment, and a hospital returns from the address from which bots guess."""
    await stage.pause(1.0, 2.0)
    loop, staff = asyncio.get_running_loop(), stage.crowd.online
    stage.supervisor.may_start.clear()
    await stage.server.kill()
    length = stage.seconds(20.0, 3.0)
    bots = await Others.begin("guessing", stage.server.url, FLOOD_RATE, length)
    stage.supervisor.may_start.set()
    await stage.supervisor.restarted(1)
    begun = loop.time()
    await stage.crowd.connected(staff)
    back = loop.time() - begun
    [answers] = await bots.told()
    if not 0 < answers["HTTP 404"] <= limits.ENROLMENT_TRIES_PER_HOUR or not answers["HTTP 429"]:
        stage.faults.append("the bots were not limited")
    stage.notes.append(f"{len(staff)} devices back in {back:.1f} s; bots: {_counted(answers)}")


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
    Fault("100 searches a second by one device", scrape, rate=120.0),
    Fault(
        "500 devices come back at once",
        come_back,
        people=520,
        away=20,
        rate=30.0,
        ends=frozenset({-signal.SIGKILL}),
    ),
    Fault(
        "3,000 come back, bots guess at their address",
        come_back_among_bots,
        people=3_020,
        people_short=80,
        away=20,
        rate=30.0,
        ends=frozenset({-signal.SIGKILL}),
    ),
    Fault("3 devices stop reading, 50,000 waiting", stop_reading, rate=40.0),
)
