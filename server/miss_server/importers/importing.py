"""One import from beginning to end: read, compare, refuse, or write the differences and publish."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from miss_server.importers.activities import REGISTER
from miss_server.importers.communes import CommuneReader
from miss_server.importers.establishments import ESTABLISHMENTS, EstablishmentReader
from miss_server.importers.faults import Faults
from miss_server.importers.mailboxes import MAILBOXES
from miss_server.importers.merging import Conflict, conflict, merge, order
from miss_server.importers.readers import Reader
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.settling import Settling
from miss_server.importers.staging import Group, Staging
from miss_server.importers.surveying import together
from miss_server.storage.directory import (
    DirectoryFilling,
    ImportedFile,
    NoRoom,
    Record,
    day,
)
from miss_server.storage.geography import Commune, Geography
from miss_server.words import tr

T = TypeVar("T")

REJECTED_SHARE = 0.01
"""Lines of a file that may be unusable: more is a damaged or another file."""
GONE_SHARE = 0.10
"""Entries of the directory in force, and lines of each source, that an import may remove: more is half
a file."""
CONFLICTS_MAX = 100
"""Conflicts that are kept for the report; all are counted."""

_DAY_MS = 86_400_000

Progress = Callable[[str, float], None]
"""Told what is done (a text for people) and how far it is, 0 to 1."""


@dataclass(slots=True)
class Report:
    """What an import did, or would do. Lines of `rejected` and `warnings` are (file, line, why)."""

    files: list[ImportedFile] = field(default_factory=list)
    people: int = 0
    organisations: int = 0
    communes: int = 0
    placed: int = 0
    """Communes whose centre is known."""
    lines: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    nameless: int = 0
    """Identifiers that only skills or mailboxes without any name speak of: they make no entry."""
    conflict_count: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    rejected: list[Faults] = field(default_factory=list)
    warnings: list[Faults] = field(default_factory=list)
    without_specialities: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator lets pass: shares of lines and entries, sources that are left away, older files."""

    rejected: float = REJECTED_SHARE
    gone: float = GONE_SHARE
    without: Collection[str] = ()
    older: bool = False


def run_import(
    texts: Sequence[Reader],
    filling: DirectoryFilling,
    *,
    now_ms: int,
    dry_run: bool = False,
    allowed: Allowed = Allowed(),
    progress: Progress = lambda text, share: None,
) -> Report:
    """Make `texts` together the directory; nothing changes if it raises, or for a dry run.

    Raises:
        ImportRefused: a file cannot be used, too many lines of it cannot, it is older or much smaller
            than what is in force, a source is missing, or too many entries would be gone.
    """
    report = Report()
    before = filling.files()
    _check_sources(texts, before, allowed)
    with Staging([text.source for text in sorted(texts, key=_trust)]) as staging:
        # What says where communes are is read first: addresses are completed by it.
        locating = [text for text in texts if isinstance(text, _LOCATING)]
        for one in locating:
            _stage(one, staging, report, allowed, progress)
        communes = _communes(locating)
        settling = Settling(Geography(communes))
        ordered = sorted(texts, key=_trust)
        for text in ordered:
            if not isinstance(text, _LOCATING):
                text.settling = settling
                _stage(text, staging, report, allowed, progress)
        report.files = [_imported(text, before, now_ms) for text in ordered]
        report.communes = len(communes)
        report.placed = sum(commune.position is not None for commune in communes)
        report.without_specialities = [
            text.name
            for text in ordered
            if not any(other.specialities for other in texts if other.source == text.source)
        ]
        _check_older(report.files, before, allowed)
        _check_shrunk(report.files, before, allowed.gone)
        progress(tr("comparing", "comparaison"), 0)
        _differences(staging, filling.known(), filling.aside(), report, progress)
        if not report.people + report.organisations:
            raise ImportRefused(
                "nobody",
                tr("There is nobody in it.", "Il n'y a personne dedans."),
                tr("Download the file again.", "Téléchargez le fichier à nouveau."),
            )
        _check_gone(report, allowed.gone)
        if not dry_run:
            filling.settle(communes)
            _write(staging, filling, report, progress)
    return report


_LOCATING = (CommuneReader, EstablishmentReader)


def _stage(
    text: Reader, staging: Staging, report: Report, allowed: Allowed, progress: Progress
) -> None:
    """Read a text to its end and put its lines aside."""
    rows = _watched(text, progress)
    if isinstance(text, CommuneReader):
        for _ in rows:
            pass  # it keeps them itself
    else:
        staging.add(text.source, rows)
    _check_rejected(text, allowed.rejected)
    report.lines += text.lines - text.rejected.count
    report.rejected.append(text.rejected)
    report.warnings.append(text.warnings)


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


def _write(staging: Staging, filling: DirectoryFilling, report: Report, progress: Progress) -> None:
    if not report.added + report.changed + report.gone:
        filling.renew(report.files)
        return
    try:
        _amend(staging, filling, progress)
    except NoRoom:
        filling.clear()
        staging.forget()
        _differences(staging, iter(()), iter(()), Report(), progress)
        _amend(staging, filling, progress)
    filling.publish(report.files)


def _amend(staging: Staging, filling: DirectoryFilling, progress: Progress) -> None:
    groups = _counted(staging.kept_groups(), staging.kept, tr("writing", "écriture"), progress)
    # Merged one by one while they are written: an import waits there to let others write, too.
    filling.amend(staging.gone(), map(_merged, groups), staging.kept)


def _merged(group: Group) -> Record:
    record = merge(group.person, group.told(), group.digest)
    assert record is not None  # noqa: S101 - only what is named was kept
    return record


def _trust(text: Reader) -> int:
    """The order in which sources are believed: the register, establishments, own files, mailboxes."""
    return {REGISTER: 0, ESTABLISHMENTS: 1, MAILBOXES: 3}.get(text.source, 2)


def _watched(text: Reader, progress: Progress) -> Iterator[tuple[str, str]]:
    said = tr(f"reading {text.name}", f"lecture de {text.name}")
    for count, row in enumerate(text.rows()):
        if count % 1000 == 0:
            progress(said, min(1.0, text.read / max(1, text.size)))
        yield row


def _counted(items: Iterable[T], total: int, text: str, progress: Progress) -> Iterator[T]:
    for count, item in enumerate(items, 1):
        if count % 100 == 0 or count == total:
            progress(text, count / total)
        yield item


class _Beside:
    """A list of (identifier, digest) that is read side by side with another one of that order."""

    def __init__(self, rows: Iterator[tuple[str, bytes]]) -> None:
        self._rows = rows
        self._head = next(rows, None)

    def until(self, person: str | None) -> Iterator[str]:
        """Identifiers before `person` (all that are left if None): the other list has none of them."""
        while self._head is not None and (person is None or self._head[0] < person):
            yield self._head[0]
            self._head = next(self._rows, None)

    def digest(self, person: str) -> bytes | None:
        """The digest of this identifier, if it comes next."""
        if self._head is None or self._head[0] != person:
            return None
        found = self._head[1]
        self._head = next(self._rows, None)
        return found


def _differences(
    staging: Staging,
    known: Iterator[tuple[str, bytes]],
    aside: Iterator[tuple[str, bytes]],
    report: Report,
    progress: Progress,
) -> None:
    """Count what differs from the directory in force, and keep what differs from the one aside."""
    in_force, kept = _Beside(known), _Beside(aside)

    def differing() -> Iterator[tuple[str, Group]]:
        counted: Counter[str] = Counter()
        for group in staging.groups():
            if not _names_anybody(group):
                report.nameless += 1
                continue
            person = group.person
            report.gone += sum(1 for _ in in_force.until(person))
            for gone in kept.until(person):
                staging.drop(gone)
            _note_conflict(group, report)
            before = in_force.digest(person)
            counted["added" if before is None else _same(before == group.digest)] += 1
            counted["organisations" if _is_organisation(group) else "people"] += 1
            if kept.digest(person) != group.digest:
                yield order(person, group.told()), group
        report.added, report.changed = counted["added"], counted["changed"]
        report.unchanged = counted["unchanged"]
        report.people, report.organisations = counted["people"], counted["organisations"]

    staging.keep(differing())
    report.gone += sum(1 for _ in in_force.until(None))
    for gone in kept.until(None):
        staging.drop(gone)


def _same(same: bool) -> str:
    return "unchanged" if same else "changed"


def _names_anybody(group: Group) -> bool:
    # The name is the second field of a packed line, behind the kind.
    return any(line.split("\x1f", 2)[1] for _, line in group.packed)


def _is_organisation(group: Group) -> bool:
    return any(line.startswith("o") for _, line in group.packed)


def _note_conflict(group: Group, report: Report) -> None:
    if len({source for source, _ in group.packed}) < 2 or _is_organisation(group):
        return
    found = conflict(group.person, group.told())
    if found is not None:
        report.conflict_count += 1
        if len(report.conflicts) < CONFLICTS_MAX:
            report.conflicts.append(found)


def _imported(text: Reader, before: Sequence[ImportedFile], now_ms: int) -> ImportedFile:
    since = min(
        (
            old.since_ms
            for old in before
            if old.name == text.source and old.digest == text.digest and old.digest
        ),
        default=text.date_ms,
    )
    return ImportedFile(
        text.source,
        text.name,
        text.date_ms,
        now_ms,
        text.lines,
        text.digest,
        min(since, text.date_ms),
    )


def _check_sources(
    texts: Sequence[Reader], before: Sequence[ImportedFile], allowed: Allowed
) -> None:
    given = {text.source for text in texts}
    missing = sorted({old.name for old in before} - given - set(allowed.without))
    if missing:
        name = missing[0]
        last = next(old for old in before if old.name == name)
        raise ImportRefused(
            "source_missing",
            tr(
                f"No file of {name} is given, which the directory in force is made from.",
                f"Aucun fichier de {name} n'est donné, dont l'annuaire en vigueur est fait.",
            ),
            tr(
                f"Give its last file again ({last.file}), or leave it away for good: --without {name}.",
                f"Donnez encore son dernier fichier ({last.file}), ou retirez la source :"
                f" --without {name}.",
            ),
        )


def _check_older(
    files: Sequence[ImportedFile], before: Sequence[ImportedFile], allowed: Allowed
) -> None:
    for name in dict.fromkeys(file.name for file in files):
        now = max(file.date_ms for file in files if file.name == name)
        then = max((old.date_ms for old in before if old.name == name), default=now)
        if now // _DAY_MS < then // _DAY_MS and not allowed.older:
            raise ImportRefused(
                "older",
                tr(
                    f"The file of {name} is of {day(now)}, the directory in force of {day(then)}.",
                    f"Le fichier de {name} date du {day(now)}, l'annuaire en vigueur du {day(then)}.",
                ),
                tr(
                    "Give a newer file; --allow-older goes back all the same.",
                    "Donnez un fichier plus récent ; --allow-older revient tout de même en arrière.",
                ),
            )


def _check_shrunk(
    files: Sequence[ImportedFile], before: Sequence[ImportedFile], share: float
) -> None:
    for name in dict.fromkeys(file.name for file in files):
        now = sum(file.activities for file in files if file.name == name)
        then = sum(old.activities for old in before if old.name == name)
        # A handful more or less of a short list says nothing.
        if then - now > max(10, share * then):
            raise ImportRefused(
                "shrunk",
                tr(
                    f"The files of {name} have {now} lines; those in force had {then}.",
                    f"Les fichiers de {name} ont {now} lignes ; ceux en vigueur en avaient {then}.",
                ),
                _WHOLE,
            )


def _check_rejected(text: Reader, share: float) -> None:
    rejected = text.rejected.count
    if rejected > share * text.lines:
        raise ImportRefused(
            "too_many_rejected",
            tr(
                f"{rejected} of the {text.lines} lines of {text.name} cannot be used.",
                f"{rejected} des {text.lines} lignes de {text.name} sont inutilisables.",
            ),
            tr(
                "Look at the lines above; download the file again, or import it as it is with a"
                " higher --max-rejected.",
                "Voyez les lignes ci-dessus ; téléchargez le fichier à nouveau, ou importez-le"
                " tel quel avec un --max-rejected plus élevé.",
            ),
            text.rejected,
        )


def _check_gone(report: Report, share: float) -> None:
    known = report.gone + report.changed + report.unchanged
    if report.gone > share * known:
        raise ImportRefused(
            "too_many_gone",
            tr(
                f"{report.gone} of the {known} entries of the directory would be gone.",
                f"{report.gone} des {known} entrées de l'annuaire disparaîtraient.",
            ),
            _WHOLE,
        )


_WHOLE = tr(
    "Check that the file is whole. If so many did leave, allow it with --max-gone.",
    "Vérifiez que le fichier est entier. Si tant d'entrées sont bien parties, autorisez-le avec"
    " --max-gone.",
)
