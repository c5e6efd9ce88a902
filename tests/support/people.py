"""A small fictive directory for a server under test: imported by the operator's own command."""

from pathlib import Path

from miss_server.importers.generate import DEMO_PEOPLE
from tests.support.server import DOMAIN, miss_server, run_command

COUNT = 60


def people_directory(folder: Path) -> list[str]:
    """Make `miss.sqlite` in a folder, with a directory of `COUNT` people.

    Returns their national identifiers, those of the demo's people left out: tests name these.
    """
    listed = folder / "people.txt"
    words = ("directory", "generate", str(listed), "--people", str(COUNT), "--seed", "7")
    run_command("miss_server", *words).check_returncode()
    database = folder / "miss.sqlite"
    miss_server("directory", "import", str(listed), "--domain", DOMAIN, database=database)
    lines = listed.read_text("utf-8").splitlines()[1:]
    demo = {person.national for person in DEMO_PEOPLE.values()}
    return sorted({line.split("|")[2] for line in lines} - demo)
