"""Servers and clients that can be told where to end: hundreds of them, forked (`support/zygote.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.server import LIFTED, ServerProcess, environment
from tests.support.zygote import Child, Zygote

SERVER = "tests.support.crashing"
CLIENT = "tests.support.crashing_client"


class Forks(Zygote):
    """The forking process of the crash tests; `close` it at the end."""

    def __init__(self) -> None:
        super().__init__((SERVER, CLIENT))

    def begin(
        self,
        words: Sequence[str],
        log: Path,
        settings: dict[str, str] | None = None,
        module: str = SERVER,
    ) -> Child:
        """Run the `main` of a module with these words in a child of its own, its output in the log."""
        with log.open("ab") as file:
            number = file.fileno()
            return self.start(module, words, environment() | (settings or {}), number, number)


@dataclass
class ForkedServer(ServerProcess):
    """A `ServerProcess` that is forked, and that can be told where to end (`tests.support.crashing`).

    `crashing` has that module's options for the next start.
    """

    forks: Forks | None = None
    crashing: Sequence[str] = field(default=())

    async def launch(self, words: Sequence[str]) -> Child:
        assert self.forks is not None
        return self.forks.begin(
            [*self.crashing, "--", *words], self.log, LIFTED | self._place() | self.settings
        )

    async def command(self, *words: str) -> int:
        """Run another `miss-server` command on the database to its end; returns its status."""
        words = (*words, "--database", str(self.database), "--domain", self.domain)
        return await (await self.launch(words)).wait()
