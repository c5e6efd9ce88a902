"""One import from beginning to end: read, compare, refuse or fill and publish."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from miss_server.importers.activities import Activity, ActivityFile
from miss_server.importers.faults import Faults
from miss_server.importers.merging import SOURCE
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.staging import Staging
from miss_server.storage.directory import DirectoryFilling, ImportedFile
from miss_server.words import tr

T = TypeVar("T")

REJECTED_SHARE = 0.01
"""Lines of a file that may be unusable: more is a damaged or another file."""
GONE_SHARE = 0.10
"""Persons of the directory in force that an import may remove: more is half a file."""

Progress = Callable[[str, float], None]
"""Told what is done (a text for people) and how far it is, 0 to 1."""


@dataclass(slots=True)
class Report:
    """What an import did, or would do. Lines of `rejected` and `warnings` are (file, line, why)."""

    files: list[ImportedFile] = field(default_factory=list)
    people: int = 0
    activities: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    rejected: list[Faults] = field(default_factory=list)
    warnings: list[Faults] = field(default_factory=list)
    without_specialities: list[str] = field(default_factory=list)


def run_import(
    files: Sequence[ActivityFile],
    filling: DirectoryFilling,
    *,
    now_ms: int,
    dry_run: bool = False,
    rejected_share: float = REJECTED_SHARE,
    gone_share: float = GONE_SHARE,
    progress: Progress = lambda text, share: None,
) -> Report:
    """Make `files` together the directory; nothing changes if it raises, or for a dry run.

    Call `filling.tidy` afterwards.

    Raises:
        ImportRefused: a file cannot be used, too many lines of it cannot, it holds nobody, or too
            many persons of the directory in force would be gone.
    """
    report = Report()
    with Staging() as staging:
        for file in files:
            staging.add(_watched(file, progress))
            _check_rejected(file, rejected_share)
            report.activities += file.lines - file.rejected.count
            report.rejected.append(file.rejected)
            report.warnings.append(file.warnings)
            if not file.specialities:
                report.without_specialities.append(file.path.name)
            report.files.append(
                ImportedFile(SOURCE, file.path.name, file.date_ms, now_ms, file.lines)
            )
        progress(tr("merging", "regroupement"), 0)
        staging.merge()
        report.people = staging.people
        if not report.people:
            raise ImportRefused(
                tr("There is nobody in it.", "Il n'y a personne dedans."),
                tr("Download the file again.", "Téléchargez le fichier à nouveau."),
            )
        _compare(staging.digests(), filling.known(), report)
        _check_gone(report, gone_share)
        if not dry_run:
            filling.fill(
                _counted(staging.records(), staging.people, tr("writing", "écriture"), progress)
            )
            filling.publish(report.files)
    return report


def _watched(file: ActivityFile, progress: Progress) -> Iterator[Activity]:
    text = tr(f"reading {file.path.name}", f"lecture de {file.path.name}")
    for count, activity in enumerate(file):
        if count % 1000 == 0:
            progress(text, min(1.0, file.read / max(1, file.size)))
        yield activity


def _counted(items: Iterable[T], total: int, text: str, progress: Progress) -> Iterator[T]:
    for count, item in enumerate(items, 1):
        if count % 100 == 0 or count == total:
            progress(text, count / total)
        yield item


def _compare(
    new: Iterator[tuple[str, bytes]], old: Iterator[tuple[str, bytes]], report: Report
) -> None:
    """Count differences; both lists come by identifier and are read side by side."""
    mine, theirs = next(new, None), next(old, None)
    while mine or theirs:
        if theirs is None or (mine and mine[0] < theirs[0]):
            report.added += 1
            mine = next(new, None)
        elif mine is None or theirs[0] < mine[0]:
            report.gone += 1
            theirs = next(old, None)
        else:
            if mine[1] == theirs[1]:
                report.unchanged += 1
            else:
                report.changed += 1
            mine, theirs = next(new, None), next(old, None)


def _check_rejected(file: ActivityFile, share: float) -> None:
    rejected = file.rejected.count
    if rejected > share * file.lines:
        raise ImportRefused(
            tr(
                f"{rejected} of the {file.lines} lines of {file.path.name} cannot be used.",
                f"{rejected} des {file.lines} lignes de {file.path.name} sont inutilisables.",
            ),
            tr(
                "Look at the lines above; download the file again, or import it as it is with a"
                " higher --max-rejected.",
                "Voyez les lignes ci-dessus ; téléchargez le fichier à nouveau, ou importez-le"
                " tel quel avec un --max-rejected plus élevé.",
            ),
            file.rejected,
        )


def _check_gone(report: Report, share: float) -> None:
    known = report.gone + report.changed + report.unchanged
    if report.gone > share * known:
        raise ImportRefused(
            tr(
                f"{report.gone} of the {known} persons of the directory would be gone.",
                f"{report.gone} des {known} personnes de l'annuaire disparaîtraient.",
            ),
            tr(
                "Check that the file is whole. If so many did leave, allow it with --max-gone.",
                "Vérifiez que le fichier est entier. Si tant de personnes sont bien parties,"
                " autorisez-le avec --max-gone.",
            ),
        )
