"""An older version of the product, as it stood at a fixed commit, for nodes that begin with it."""

import asyncio
import io
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.server import environment

COMMIT = "e2999d87368855636add129faf17ea80e1044f13"
"""What stands in for the version before this one. After a release: the release's commit."""
ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "server", "clients/python")


class TooShallow(Exception):
    """This clone does not hold the older version; the text says what to do."""


async def exported(folder: Path) -> dict[str, str]:
    """Put the older version's code into a new folder; returns the settings that make Python run it.

    Raises:
        TooShallow: the clone does not reach back to `COMMIT`.
    """
    await asyncio.to_thread(_export, folder)
    path = {"PYTHONPATH": ":".join(str(folder / package) for package in PACKAGES)}
    found = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "import miss_server; print(miss_server.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        env=environment() | path,
    )
    assert found.stdout.startswith(str(folder)), f"not the older version: {found.stdout}"
    return path


def _export(folder: Path) -> None:
    folder.mkdir()
    git = ("git", "-C", str(ROOT))
    there = subprocess.run(
        [*git, "cat-file", "-e", f"{COMMIT}^{{commit}}"], capture_output=True, check=False
    )
    if there.returncode:
        raise TooShallow(
            f"this clone does not reach back to commit {COMMIT[:7]}, which the rolling upgrade starts"
            " from: git fetch --unshallow, then run this again"
        )
    archive = subprocess.run(
        [*git, "archive", COMMIT, *PACKAGES], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
