"""One import from beginning to end: read, compare, refuse, or write the differences and publish."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from miss_server.importers.activities import REGISTER
from miss_server.importers.checking import (
    check_gone,
    check_names,
    check_older,
    check_rejected,
    check_shrunk,
    check_sources,
)
from miss_server.importers.communes import CommuneReader
from miss_server.importers.comparing import Merging, differences, merging
from miss_server.importers.establishments import ESTABLISHMENTS, EstablishmentReader
from miss_server.importers.mailboxes import MAILBOXES
from miss_server.importers.members import MemberReader
from miss_server.importers.readers import Reader
from miss_server.importers.reading import read_all, watched
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.repeating import kept, repeats
from miss_server.importers.reports import (
    GONE_SHARE,
    REJECTED_SHARE,
    USUAL,
    Allowed,
    Progress,
    Report,
)
from miss_server.importers.staging import Staging
from miss_server.importers.surveying import together
from miss_server.storage.directory import DirectoryFilling, ImportedFile, NoRoom, day
from miss_server.storage.geography import Commune, Geography
from miss_server.words import tr

__all__ = [
    "APART_FROM",
    "GONE_SHARE",
    "REJECTED_SHARE",
    "Allowed",
    "Progress",
    "Report",
    "run_import",
]

T = TypeVar("T")

APART_FROM = 64 << 20
"""Bytes of all texts from which it pays to begin processes, which takes half a second each."""


def run_import(
    texts: Sequence[Reader],
    filling: DirectoryFilling,
    *,
    now_ms: int,
    dry_run: bool = False,
    allowed: Allowed = USUAL,
    processes: int = 0,
    progress: Progress = lambda text, share: None,
) -> Report:
    """Make `texts` together the directory; nothing changes if it raises, or for a dry run.

    Args:
        processes: how many may work beside this one.

    Raises:
        ImportRefused: a file cannot be used or is called as another source, too many lines of it cannot, it is older or much smaller
            than what is in force, a source is missing, or too many entries would be gone.
        OSError: a file cannot be read, or a process of the import has ended (`ChildProcessError`).
    """
    report = Report()
    before = filling.files()
    for text in texts:
        if isinstance(text, MemberReader):
            text.keep_name(before)
    check_names(texts, before)
    check_sources(texts, before, allowed)
    ordered = sorted(texts, key=_trust)
    if repeats(ordered, filling.remembered(), report, progress):
        _check_read(ordered, report, allowed)
        _noted(ordered, before, now_ms, report)
        check_older(ordered, report.files, before, allowed, now_ms)
        if not dry_run:
            filling.renew(report.files, kept(ordered, report))
        return report
    with (
        Staging([text.source for text in ordered]) as staging,
        merging(processes if not dry_run else 0) as merged,
    ):
        communes = _read(ordered, staging, report, allowed, progress, apart=processes > 0)
        _noted(ordered, before, now_ms, report)
        check_older(ordered, report.files, before, allowed, now_ms)
        check_shrunk(report.files, before, allowed.gone)
        progress(tr("comparing", "comparaison"), 0)
        differences(
            staging,
            filling.known(),
            filling.aside(),
            report,
            merged,
            holders=filling.holders(),
            keep=not dry_run,
        )
        if not report.people + report.organisations:
            raise ImportRefused(
                "nobody",
                tr("There is nobody in it.", "Il n'y a personne dedans."),
                tr("Download the file again.", "Téléchargez le fichier à nouveau."),
            )
        check_gone(report, allowed.gone)
        if not dry_run:
            filling.settle(communes)
            _write(staging, filling, report, merged, progress, kept(ordered, report))
    return report


def _read(
    texts: Sequence[Reader],
    staging: Staging,
    report: Report,
    allowed: Allowed,
    progress: Progress,
    *,
    apart: bool,
) -> list[Commune]:
    """Put the lines of all texts aside; returns the communes, by which addresses were completed."""
    locating = [text for text in texts if isinstance(text, CommuneReader | EstablishmentReader)]
    for one in locating:
        if isinstance(one, CommuneReader):
            for _ in watched(one, progress):
                pass  # it keeps them itself
        else:
            staging.add(one.source, watched(one, progress))
    communes = _communes(locating)
    others = [text for text in texts if text not in locating]
    read_all(others, staging, Geography(communes), progress, apart=apart)
    _check_read(texts, report, allowed)
    report.lines = sum(text.lines - text.rejected.count for text in texts)
    report.communes = len(communes)
    report.placed = sum(commune.position is not None for commune in communes)
    return communes


def _check_read(texts: Sequence[Reader], report: Report, allowed: Allowed) -> None:
    for text in texts:
        check_rejected(text, allowed.rejected)
        report.rejected.append(text.rejected)
        report.warnings.append(text.warnings)
    report.without_specialities = [
        text.name
        for text in texts
        if not any(other.specialities for other in texts if other.source == text.source)
    ]


def _communes(texts: Sequence[Reader]) -> list[Commune]:
    """What tables and establishments say together of communes."""
    return together(
        (one for text in texts if isinstance(text, CommuneReader) for one in text.communes),
        (
            one
            for text in texts
            if isinstance(text, EstablishmentReader)
            for one in text.survey.communes()
        ),
    )


def _write(
    staging: Staging,
    filling: DirectoryFilling,
    report: Report,
    merged: Merging,
    progress: Progress,
    remembered: bytes,
) -> None:
    if not report.added + report.changed + report.gone:
        filling.renew(report.files, remembered)
        return
    try:
        _amend(staging, filling, progress)
    except NoRoom:
        filling.clear()
        staging.forget()
        differences(staging, iter(()), iter(()), Report(), merged, keep=True)
        _amend(staging, filling, progress)
    filling.publish(report.files, remembered)


def _amend(staging: Staging, filling: DirectoryFilling, progress: Progress) -> None:
    records = _counted(staging.kept_records(), staging.kept, tr("writing", "écriture"), progress)
    filling.amend(staging.gone(), records, staging.kept)


def _trust(text: Reader) -> int:
    """The order in which sources are believed: the register, establishments, own files, mailboxes."""
    return {REGISTER: 0, ESTABLISHMENTS: 1, MAILBOXES: 3}.get(text.source, 2)


def _counted(items: Iterable[T], total: int, text: str, progress: Progress) -> Iterator[T]:
    for count, item in enumerate(items, 1):
        if count % 100 == 0 or count == total:
            progress(text, count / total)
        yield item


def _noted(
    texts: Sequence[Reader], before: Sequence[ImportedFile], now_ms: int, report: Report
) -> None:
    report.files = [_imported(text, before, now_ms) for text in texts]
    report.ahead = [
        (file, day(text.date_ms))
        for text, file in zip(texts, report.files, strict=True)
        if text.date_ms > file.date_ms
    ]


def _imported(text: Reader, before: Sequence[ImportedFile], now_ms: int) -> ImportedFile:
    date_ms = text.dated(now_ms)
    since = min(
        (
            old.since_ms
            for old in before
            if old.name == text.source and old.digest == text.digest and old.digest
        ),
        default=date_ms,
    )
    return ImportedFile(
        text.source,
        text.name,
        date_ms,
        now_ms,
        text.lines,
        text.digest,
        min(since, date_ms),
        text.kind,
    )
