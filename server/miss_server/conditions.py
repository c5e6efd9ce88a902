"""How well a part of the server does, in words for its operator."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from miss_server.words import Both


class State(StrEnum):
    """Of a part."""

    OK = "ok"
    DEGRADED = "degraded"
    """Every promise holds, something is slower or will fail if nobody looks at it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a part says of itself. The text holds no secret, no address and no person: strangers
    read it."""

    state: State
    text: Both


class Watched(Protocol):
    """A part that can be asked how it does.

    `part` is one lower-case word. Without a `vital` one no message can be made durable: when it has
    failed, nobody should be sent here.
    """

    part: str
    vital: bool

    async def condition(self) -> Condition:
        """Look. What it raises counts as failed; it is given up after some seconds."""
        ...
