"""A fictive edition of a nation's files, for the benches of the directory: about a minute to write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from miss_server.importers.activities import COLUMNS_56
from miss_server.importers.generate import Written, generate_all

LINES = 2_000_000
"""Of activities; a person has 1.456 on average."""
LINES_EACH = 1.456

CHANGED_EVERY = 200
"""One line of activities of so many says something else from one day to the next."""

_KEPT = "edition.json"
_PHONE = COLUMNS_56.index("Téléphone (coord. structure)")


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


def next_day(activities: Path, folder: Path, day: str) -> Path:
    """The file of activities as it is another day (YYYYMMDD): some telephones have changed."""
    stamp = activities.stem.rpartition("_")[2]
    path = folder / activities.name.replace(stamp, f"{day}0630")
    with activities.open(encoding="utf-8") as old, path.open("w", encoding="utf-8") as new:
        for number, line in enumerate(old, 1):
            if number % CHANGED_EVERY == 0:
                fields = line.split("|")
                fields[_PHONE] = f"05{day}"
                new.write("|".join(fields))
            else:
                new.write(line)
    return path
