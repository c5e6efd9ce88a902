"""The doorbell of several nodes, over any line.

What is to be said is collected while the last word is on its way, so that one commit batch costs one
word. A node hears its own words, too: by that, and not by an open socket, it knows that its line
works in both directions. A far end that is frozen, cut off one way or out of memory looks the same
as one that is gone: nothing of ours comes back.
"""

import asyncio
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

import structlog

from miss_protocol.ids import DeviceId
from miss_server.doorbell import words
from miss_server.doorbell.echoes import Echoes
from miss_server.doorbell.interface import DoorbellError, DoorbellState, Listener, News
from miss_server.doorbell.line import Line, LineDown, LineRefused

BEAT_EVERY = 1.0
"""Seconds between looks whether a word was said lately; else an empty one is, to hear it."""
SILENCE_MAX = 3.0
"""Seconds in which our own words must come back: below the sweep, which is what a dead line costs."""
OPEN_MAX = 3.0
SAY_MAX = 2.0
STOP_MAX = 1.0
PAUSE_FIRST = 0.1
PAUSE_MAX = 5.0
"""Between attempts to connect: doubled each time, less a random part, so that nodes spread."""
PAYLOADS_MAX = 32
"""Payloads of what waits to be said: more, and looking at everything costs the others less."""

log = structlog.get_logger()


class NodeDoorbell:
    """Announces over `line`; `now_ms` is the wall clock, for `state` only."""

    def __init__(self, line: Line, now_ms: Callable[[], int]) -> None:
        self._line = line
        self._now_ms = now_ms
        self._speaker = os.urandom(words.SPEAKER_BYTES)
        self._listeners: list[Listener] = []
        self._state = DoorbellState(line.kind, up=False, since_ms=now_ms(), why="not started")
        self._devices: set[DeviceId] = set()
        self._sessions: dict[DeviceId, int] = {}
        self._everything = False
        self._waiting_max = PAYLOADS_MAX * (line.payload_max // words.SESSION_BYTES)
        self._missed = False
        """Something was not announced: once the line is up, the others must look at everything."""
        self._ready = asyncio.Event()
        self._number = 0
        self._said = 0.0
        self._echo = 0.0
        """When we last heard ourselves, by the event loop's clock."""
        self._echoes = Echoes()
        self._rung = self._heard = self._dropped = self._reconnects = 0
        self._strange = False
        self._running: asyncio.Task[None] | None = None

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def state(self) -> DoorbellState:
        return replace(
            self._state,
            slow=self._state.up and self._echoes.slow,
            rung=self._rung,
            heard=self._heard,
            dropped=self._dropped,
            reconnects=self._reconnects,
        )

    # --- what is announced ------------------------------------------------------------------------

    def ring(self, devices: Collection[DeviceId]) -> None:
        if devices:
            self._tell(News(tuple(devices)))
            self._devices.update(devices)
            self._collected()

    def began(self, device: DeviceId, generation: int) -> None:
        self._sessions[device] = generation
        self._collected()

    def revoked(self, devices: Collection[DeviceId]) -> None:
        for device in devices:
            self.began(device, 0)

    def restored(self) -> None:
        self._everything = True
        self._collected()

    def _collected(self) -> None:
        if not self._state.up or len(self._devices) + len(self._sessions) > self._waiting_max:
            self._drop()
        if self._state.up:
            self._ready.set()

    def _drop(self) -> None:
        self._lost(self._take())
        self._everything = self._state.up

    def _lost(self, news: News) -> None:
        self._dropped += len(news.devices)
        self._missed = not self._state.up

    def _take(self) -> News:
        news = News(tuple(self._devices), tuple(self._sessions.items()), self._everything)
        self._devices, self._sessions, self._everything = set(), {}, False
        return news

    def _tell(self, news: News) -> None:
        for listener in self._listeners:
            listener(news)

    # --- the line ---------------------------------------------------------------------------------

    async def start(self) -> None:
        opened = False
        try:
            async with asyncio.timeout(OPEN_MAX):
                await self._line.open()
            opened = True
        except LineRefused as error:
            await self._line.close()
            raise DoorbellError(str(error)) from None
        except (LineDown, TimeoutError) as error:
            await self._line.close()
            self._fall(str(error) or "no answer")
        self._running = asyncio.create_task(self._run(opened=opened))

    async def stop(self) -> None:
        if self._running is None:
            return
        await _end([self._running], again=1.0)
        self._running = None
        if self._state.up and (self._devices or self._sessions or self._everything):
            with suppress(LineDown, TimeoutError):
                async with asyncio.timeout(STOP_MAX):
                    await self._say(self._take())
        await self._line.close()

    async def _run(self, *, opened: bool) -> None:
        pause = PAUSE_FIRST
        while True:
            try:
                if not opened:
                    async with asyncio.timeout(OPEN_MAX):
                        await self._line.open()
                await self._serve()
            except LineDown as error:
                why = str(error)
            except TimeoutError:
                why = "no answer"
            except Exception:
                log.exception("doorbell failed", by=self._line.kind)
                why = "internal error, see the log"
            opened = False
            if self._state.up:
                pause = PAUSE_FIRST
            self._fall(why)
            await self._line.close()
            await asyncio.sleep(pause * (1 - os.urandom(1)[0] / 512))
            pause = min(2 * pause, PAUSE_MAX)
            self._reconnects += 1

    def _fall(self, why: str) -> None:
        if self._state.up or self._state.why != why:
            log.warning("doorbell is down: a sweep finds what waits", by=self._line.kind, why=why)
            self._state = replace(self._state, up=False, since_ms=self._now_ms(), why=why)
        self._missed = True
        self._lost(self._take())

    def _rise(self) -> None:
        log.info("doorbell is up", by=self._line.kind)
        self._state = replace(self._state, up=True, since_ms=self._now_ms(), why="")
        self._strange = False
        self._everything, self._missed = self._missed, False
        self._ready.set()
        self._tell(News(everything=True))  # what others said meanwhile was not heard here

    async def _serve(self) -> None:
        """Until the line fails; never returns."""
        self._echo = asyncio.get_running_loop().time()
        self._echoes = Echoes()
        self._ready.set()
        doing = [
            asyncio.create_task(work) for work in (self._saying(), self._hearing(), self._beating())
        ]
        try:
            done, _ = await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await _end(doing, again=0.1)

    async def _saying(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            news = self._take()
            try:
                await self._say(news)
            except BaseException:
                self._dropped += len(news.devices)
                raise
            self._rung += len(news.devices)

    async def _say(self, news: News) -> None:
        self._number += 1
        self._said = asyncio.get_running_loop().time()
        self._echoes.said(self._number, self._said)
        for payload in words.encode(
            self._speaker, self._number, news, payload_max=self._line.payload_max
        ):
            async with asyncio.timeout(SAY_MAX):
                await self._line.say(payload)

    async def _hearing(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            word = words.decode(await self._line.hear())
            if word is None:
                if not self._strange:
                    self._strange = True
                    log.warning("something strange was said to the nodes", by=self._line.kind)
            elif word.speaker == self._speaker:
                self._echo = loop.time()
                self._echoes.heard(word.number, self._echo)
                if not self._state.up:
                    self._rise()
            else:
                self._heard += len(word.devices) // words.ID_BYTES
                news = word.news()
                if news.devices or news.sessions or news.everything:
                    self._tell(news)

    async def _beating(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_EVERY)
            if loop.time() - self._echo > SILENCE_MAX:
                raise LineDown("what this node says does not come back")
            # Half of it: a word of the former beat is never counted as this one's, so that a line which
            # takes almost as long as it may is not taken for a dead one.
            if loop.time() - self._said >= BEAT_EVERY / 2:
                self._ready.set()


async def _end(tasks: Collection[asyncio.Task[None]], *, again: float) -> None:
    """Cancel them every `again` seconds until they are done: the library of the line swallows a
    cancellation that comes while it connects."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=again)
    for task in tasks:
        if not task.cancelled():
            task.exception()
