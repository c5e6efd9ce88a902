"""A small fictive directory for a server under test: imported by the operator's own command."""

import subprocess
import sys
from pathlib import Path

from miss_server.importers.generate import DEMO_PEOPLE
from tests.support.server import DOMAIN, environment, miss_server

COUNT = 60


def people_directory(folder: Path) -> list[str]:
    """Make `miss.sqlite` in a folder, with a directory of `COUNT` people.

    Returns their national identifiers, those of the demo's people left out: tests name these.
    """
    listed = folder / "people.txt"
    subprocess.run(
        [
            *(sys.executable, "-m", "miss_server", "directory", "generate"),
            *(str(listed), "--people", str(COUNT), "--seed", "7"),
        ],
        check=True,
        capture_output=True,
        env=environment(),
        timeout=60,
    )
    database = folder / "miss.sqlite"
    miss_server("directory", "import", str(listed), "--domain", DOMAIN, database=database)
    lines = listed.read_text("utf-8").splitlines()[1:]
    demo = {person.national for person in DEMO_PEOPLE.values()}
    return sorted({line.split("|")[2] for line in lines} - demo)
