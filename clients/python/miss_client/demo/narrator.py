"""Tells the story with its times, and checks what it tells."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class StoryBroken(Exception):
    """Something that the story promises did not happen."""


class Narrator:
    """Writes to the terminal. `check` is the only way to say that something is so."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._begun = time.perf_counter()
        self.checked = 0

    @contextmanager
    def act(self, number: int, title: str) -> Iterator[None]:
        """A numbered part of the story, with its time at the end."""
        self._console.print(f"\n[bold]{number}. {title}[/bold]")
        begun = time.perf_counter()
        yield
        self._console.print(f"   [dim]{time.perf_counter() - begun:.2f} s[/dim]")

    def say(self, text: str) -> None:
        """Tell what happens."""
        self._console.print(f"   {text}")

    def check(self, so: bool, text: str) -> None:
        """Tell something that must be so.

        Raises:
            StoryBroken: it is not.
        """
        if not so:
            self._console.print(f"   [red]✗ {text}[/red]")
            raise StoryBroken(text)
        self.checked += 1
        self._console.print(f"   [green]✓[/green] {text}")

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._begun
