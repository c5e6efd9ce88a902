"""What carries words between nodes: the part that Redis and PostgreSQL do differently."""

from typing import Protocol


class LineDown(Exception):
    """The line cannot be used now; the text says why, for people, without secrets."""


class LineRefused(LineDown):
    """The far end answers and refuses us: a password or a right is missing. The text says what to
    change."""


class Line(Protocol):
    """A way to say bytes to all nodes, oneself included, and to hear what is said.

    Unreliable: what is said may be lost, and nobody is told. Every method may wait for as long as
    the far end does; callers set deadlines. After any error only `close` and `open` are called.
    """

    @property
    def kind(self) -> str:
        """Its name, for people."""
        ...

    @property
    def payload_max(self) -> int:
        """The most bytes that can be said at once."""
        ...

    async def open(self) -> None:
        """Connect and listen: what is said after this returns is heard.

        Raises:
            LineRefused, LineDown.
        """
        ...

    async def say(self, payload: bytes) -> None:
        """Say it to all who listen. Raises `LineDown`."""
        ...

    async def hear(self) -> bytes:
        """Wait for the next payload. Raises `LineDown`."""
        ...

    async def close(self) -> None:
        """Let go at once; never raises, and may be called again."""
        ...
