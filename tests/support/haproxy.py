"""A real HAProxy with the configuration of `deploy/`, on a free port of this machine."""

import asyncio
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Files
from tests.support.engines import free_port
from tests.support.waiting import until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"


@dataclass
class HAProxy:
    """In front of two nodes of this machine; `start` before use, `stop` after."""

    files: Files
    nodes: tuple[int, int]
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where clients come in."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.files.folder / "haproxy.log"

    def environment(self) -> dict[str, str]:
        """What the configuration asks for."""
        pem = self.files.folder / "tls.pem"
        pem.write_bytes(self.files.certificate.read_bytes() + self.files.key.read_bytes())
        self.port = self.port or free_port()
        return os.environ | {
            "MISS_LISTEN": f"127.0.0.1:{self.port}",
            "MISS_CERTIFICATE": str(pem),
            "MISS_NODE_1": f"127.0.0.1:{self.nodes[0]}",
            "MISS_NODE_2": f"127.0.0.1:{self.nodes[1]}",
        }

    def check(self) -> subprocess.CompletedProcess[str]:
        """Have it read its configuration and say what is wrong with it."""
        return subprocess.run(
            ["haproxy", "-c", "-V", "-f", str(CONFIGURATION)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=self.environment(),
        )

    async def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                "haproxy", "-db", "-f", str(CONFIGURATION), stdout=log, stderr=log,
                env=self.environment(),
            )  # fmt: skip
        await until(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
