"""Reads the texts of an import and puts their lines aside, each source in a process of its own if told so."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from miss_server.importers.faults import Faults
from miss_server.importers.readers import Reader
from miss_server.importers.recognising import readers
from miss_server.importers.reports import Progress
from miss_server.importers.settling import Settling
from miss_server.importers.staging import Staging
from miss_server.storage.geography import Geography
from miss_server.words import tr
from miss_server.working import Crew, Worker

BATCH = 2_000

Rows = list[tuple[str, str]]


class Job(NamedTuple):
    """The texts of one source, each by its file and number therein; `source`: as this import calls it."""

    source: str
    texts: Sequence[tuple[Path, int]]
    test_identifiers: bool
    geography: Geography


class Rest(NamedTuple):
    """What a reader knows when it is done."""

    read: int
    lines: int
    rejected: Faults
    warnings: Faults
    header: bytes
    digest: bytes
    specialities: bool


def read_all(
    texts: Sequence[Reader],
    staging: Staging,
    geography: Geography,
    progress: Progress,
    *,
    apart: bool,
) -> None:
    """Put the lines of all texts aside, those of one source in their order. `apart`: in processes."""
    if not apart:
        settling = Settling(geography)
        read: dict[str, Reader] = {}
        for text in texts:
            text.settling, text.before = settling, read.get(text.source)
            read[text.source] = text
            staging.add(text.source, watched(text, progress))
        return
    by_source = list(_by_source(texts).values())
    jobs = [
        Job(
            some[0].source,
            [(text.path, text.place) for text in some],
            any(text.test_identifiers for text in some),
            geography,
        )
        for some in by_source
    ]
    size = max(1, sum(text.size for text in texts))
    with Crew(serve, len(jobs)) as crew:
        for number, (place, answer) in crew.streamed(list(jobs)):
            text = by_source[number][place]
            if isinstance(answer, Rest):
                _complete(text, answer)
            else:
                text.read, rows = answer
                staging.add(text.source, rows)
                share = sum(one.read for one in texts) / size
                progress(tr("reading", "lecture"), min(1.0, share))


def _by_source(texts: Sequence[Reader]) -> dict[str, list[Reader]]:
    found: dict[str, list[Reader]] = {}
    for text in texts:
        found.setdefault(text.source, []).append(text)
    return found


def serve(worker: Worker) -> None:
    """Read one job: (number of the text, (bytes read, rows) or `Rest`), then None."""
    for job in islice(worker.received(), 1):
        settling = Settling(job.geography)
        before: Reader | None = None
        for number, (path, place) in enumerate(job.texts):
            text = readers(path, test_identifiers=job.test_identifiers)[place]
            text.source, text.settling, text.before = job.source, settling, before
            before = text
            rows = text.rows()
            while some := list(islice(rows, BATCH)):
                worker.send((number, (text.read, some)))
            rest = Rest(
                text.read,
                text.lines,
                text.rejected,
                text.warnings,
                text.header,
                text.digest,
                text.specialities,
            )
            worker.send((number, rest))
        worker.send(None)


def _complete(text: Reader, rest: Rest) -> None:
    text.read, text.lines = rest.read, rest.lines
    text.rejected, text.warnings = rest.rejected, rest.warnings
    text.header, text.digest = rest.header, rest.digest
    text.specialities = rest.specialities


def watched(text: Reader, progress: Progress) -> Iterator[tuple[str, str]]:
    """A text's rows; tells how far it is."""
    said = tr(f"reading {text.name}", f"lecture de {text.name}")
    for count, row in enumerate(text.rows()):
        if count % 1000 == 0:
            progress(said, min(1.0, text.read / max(1, text.size)))
        yield row
