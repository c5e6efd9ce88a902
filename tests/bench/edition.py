"""A fictive edition of a nation's files, for the benches of the directory: about a minute to write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from miss_server.importers.generate import Written, generate_all

LINES = 2_000_000
"""Of activities; a person has 1.456 on average."""
LINES_EACH = 1.456

_KEPT = "edition.json"


@contextmanager
def edition(lines: int, kept: Path | None = None) -> Iterator[Written]:
    """Of so many lines of activities; those in `kept`, if an earlier call left them there."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield _written(kept, lines)
        return
    with TemporaryDirectory(prefix="miss-bench-") as name:
        yield _written(Path(name), lines)


def _written(folder: Path, lines: int) -> Written:
    note = folder / _KEPT
    if note.exists():
        found = json.loads(note.read_text())
        if found["lines"] == lines:
            one, two, three, four = (folder / name for name in found["names"])
            return Written(one, two, three, four, found["written"])
    people = max(1, int(lines / LINES_EACH))
    made = generate_all(folder, people=people, seed=1, stamp="202601050630")
    names = [path.name for path in made[:4]]
    note.write_text(json.dumps({"lines": lines, "names": names, "written": made.lines}))
    return made
