"""Where the story plays: a folder, an operator's commands, and a real server process.

The server is run as its own program, never imported: the client's package does not know it.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from miss_client.demo.narrator import StoryBroken

DOMAIN = "miss.example"
START_SECONDS = 20.0
STOP_SECONDS = 20.0

_LISTENING = re.compile(r"url='?\"?(http://127\.0\.0\.1:(\d+))")


class Stage:
    """A server with its database and log in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "server" / "miss.sqlite"
        self.log = folder / "server" / "server.log"
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.database.parent.mkdir(parents=True)

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    async def operator(self, *words: str) -> str:
        """Run one of the operator's commands; returns what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "miss_server",
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise StoryBroken(f"miss-server {words[0]}: {err.decode(errors='replace')}")
        return out.decode()

    async def make_directory(self, people: int) -> str:
        """Generate a fictive register and import it; returns the import's report."""
        register = self.folder / "register.txt"
        await self.operator("directory", "generate", str(register), "--people", str(people))
        return await self.operator(
            "directory", "import", str(register), "--database", str(self.database),
            "--domain", DOMAIN,
        )  # fmt: skip

    async def codes(self, people: list[str]) -> dict[str, str]:
        """Enrolment codes by national identifier."""
        printed = await self.operator(
            "enrol-code", *people, "--json", "--database", str(self.database), "--domain", DOMAIN
        )
        return {row["person"]: row["code"] for row in map(json.loads, printed.splitlines())}

    async def start(self) -> None:
        """Start the server; again after `kill`, on the same port."""
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "miss_server",
                "serve",
                "--database",
                str(self.database),
                "--domain",
                DOMAIN,
                "--port",
                str(self.port),
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        async with asyncio.timeout(START_SECONDS):
            while (found := _LISTENING.search(self._log_from(begin))) is None:
                if self._process.returncode is not None:
                    raise StoryBroken(f"the server did not start:\n{self._log_from(begin)}")
                await asyncio.sleep(0.02)  # a file tells nobody that it grew
        self.port = int(found.group(2))

    def _log_from(self, begin: int) -> str:
        return self.log.read_bytes()[begin:].decode(errors="replace")

    async def kill(self) -> None:
        """SIGKILL: the process ends between two instructions, as in a power cut."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MISS_")}
