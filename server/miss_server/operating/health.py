"""How the server does: every part asked, and since when it answers the same."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from miss_server.conditions import Condition, State, Watched
from miss_server.relay.clock import Clock
from miss_server.storage.messages import NotDurable
from miss_server.words import Both

LOOK_EVERY = 5.0
"""Seconds between looks when nobody asks, so that `since` and the log are right."""
FRESH = 1.0
"""Seconds for which an answer is good: who asks more often must not load the disk."""
PATIENCE = 3.0
"""Seconds that a part has to answer: a load balancer does not wait longer."""

_SILENT = Both("This part does not answer.", "Cet élément ne répond pas.")
_NO_DATABASE = Both(
    "This part is not known while the database does not answer.",
    "L'état de cet élément est inconnu tant que la base ne répond pas.",
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """A part's condition and since when its state is the same, in milliseconds."""

    name: str
    vital: bool
    condition: Condition
    since_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """All parts at one moment."""

    parts: Sequence[Part]

    @property
    def ready(self) -> bool:
        """Whether messages that come now can be made durable."""
        return not any(p.vital and p.condition.state is State.FAILED for p in self.parts)

    @property
    def status(self) -> str:
        """In one word for programs."""
        if not self.ready:
            return "not_ready"
        well = all(part.condition.state is State.OK for part in self.parts)
        return "ready" if well else "degraded"


class Health:
    """Looks at the parts, for many who ask at once, and says in the log what changed."""

    def __init__(self, clock: Clock, watched: Sequence[Watched]) -> None:
        self._clock = clock
        self._watched = list(watched)
        self._parts: dict[str, Part] = {}
        self._looking: asyncio.Task[Report] | None = None
        self._looked: tuple[float, Report] | None = None

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> Report:
        """The report of now, or of a moment ago."""
        if self._looked is not None and self._clock.steady() < self._looked[0] + FRESH:
            return self._looked[1]
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(_seen)
        return await asyncio.shield(self._looking)

    async def _look(self) -> Report:
        try:
            conditions = await asyncio.gather(*(_ask(watched) for watched in self._watched))
            now_ms = self._clock.now_ms()
            report = Report(
                [self._note(w, c, now_ms) for w, c in zip(self._watched, conditions, strict=True)]
            )
            self._looked = self._clock.steady(), report
            return report
        finally:
            self._looking = None

    def _note(self, watched: Watched, condition: Condition, now_ms: int) -> Part:
        before = self._parts.get(watched.part)
        since = now_ms
        if before is not None and before.condition.state is condition.state:
            since = before.since_ms
        elif before is not None or condition.state is not State.OK:
            say = log.info if condition.state is State.OK else log.warning
            say("condition", part=watched.part, state=condition.state.value, now=condition.text.en)
        part = Part(watched.part, watched.vital, condition, since)
        self._parts[watched.part] = part
        return part


def _seen(looking: asyncio.Task[Report]) -> None:
    # Those who waited may all be gone; what it raised was raised to those who are not.
    if not looking.cancelled():
        looking.exception()


async def _ask(watched: Watched) -> Condition:
    try:
        async with asyncio.timeout(PATIENCE):
            return await watched.condition()
    except TimeoutError:
        return Condition(State.FAILED, _SILENT)
    except NotDurable:  # the storage has said why in the log, and the part `database` says it here
        return Condition(State.FAILED, _NO_DATABASE)
    except Exception:
        log.exception("part not looked at", part=watched.part)
        return Condition(State.FAILED, _SILENT)
