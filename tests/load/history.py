"""What happened to each message of a run: when it was due, acknowledged, shown, and what was told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Letter:
    """One message to one recipient. Times are seconds of the event loop's clock."""

    sender: int
    recipient: int
    due: float
    timed: bool
    """Its recipient was meant to be online all the time: its latency counts."""
    sent: float | None = None
    """When the sender first heard that it is durable."""
    shown: list[float] = field(default_factory=list)
    """When the recipient's user saw it: more than once is a message doubled."""
    end: str = ""
    """The last thing that the sender heard: `delivered`, or why not."""
    read: "Read | None" = None
    """Its reader tells, or will tell, that it was read."""

    @property
    def over(self) -> bool:
        """Nothing more can come, and its sender knows."""
        if self.read is not None and not (self.read.told or self.read.at_risk):
            return False
        return bool(self.end) and (bool(self.shown) or self.end != "delivered")


@dataclass(slots=True)
class Read:
    """The receipt of a reader who chose to give one."""

    given: bool = False
    """It was signed."""
    told: bool = False
    """The sender heard of it, by a signature that holds."""
    at_risk: bool = False
    """The server was restored before the sender heard: what it had of this is gone, and only a
    message that is submitted again is receipted again (rule C6)."""


@dataclass
class History:
    """Everything that one crowd did and saw."""

    letters: dict[bytes, Letter] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """What no server may do: a skipped position, a refused receipt, a device turned away."""
    missed: int = 0
    """Positions that a gap stood for."""
    restores: int = 0
    """How often a device learned that the server is an older copy."""
    logins: int = 0
    retries: int = 0
    """Answers and closes that said: not now, repeat."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wrote(self, id: bytes, letter: Letter) -> None:
        """A user pressed send."""
        self.letters[id] = letter

    def acknowledged(self, id: bytes, at: float) -> None:
        """The sender heard `sent`."""
        letter = self.letters[id]
        if letter.sent is None:
            letter.sent = at
        self._changed.set()

    def shown(self, id: bytes, recipient: int, at: float) -> None:
        """A recipient's user saw it."""
        letter = self.letters.get(id)
        if letter is None or letter.recipient != recipient:
            self.broken.append("a message that nobody wrote to this device")
            return
        letter.shown.append(at)
        self._changed.set()

    def wants_to_tell(self, id: bytes) -> None:
        """A reader will tell the sender that it was read; called as it is shown."""
        if id in self.letters:
            self.letters[id].read = Read()

    def gave_read(self, id: bytes) -> None:
        """A reader signed that it was read."""
        read = self.letters[id].read
        assert read is not None
        read.given = True

    def told_read(self, id: bytes) -> None:
        """The sender heard that it was read."""
        read = self.letters[id].read
        if read is None or not read.given:
            self.broken.append("a read that no reader gave")
            return
        read.told = True
        self._changed.set()

    def restored(self) -> None:
        """A device learned that the server is an older copy."""
        self.restores += 1
        for letter in self.letters.values():
            if letter.read is not None and not letter.read.told:
                letter.read.at_risk = True
        self._changed.set()

    def ended(self, id: bytes, end: str) -> None:
        """The sender heard the last word."""
        self.letters[id].end = end
        self._changed.set()

    def repeat(self) -> None:
        """The server could not store now and said so."""
        self.retries += 1
        self._changed.set()

    def note(self) -> None:
        """Something else changed that `until` may wait for."""
        self._changed.set()

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until `holds`; returns whether it did in time."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def came_back(self, logins: int, seconds: float) -> bool:
        """Wait until there were so many logins in all."""
        return await self.until(lambda: self.logins >= logins, seconds)

    async def until_over(self, seconds: float) -> bool:
        """Wait until each sender heard the last word of each message."""
        waiting = list(self.letters.values())

        def over() -> bool:
            while waiting and waiting[-1].over:
                waiting.pop()
            return not waiting

        return await self.until(over, seconds)
