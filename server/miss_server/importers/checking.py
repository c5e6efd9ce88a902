"""Why an import is refused that could be read: what it would take away, and what it is older than."""

from collections.abc import Iterator, Sequence

from miss_server.importers.activities import REGISTER, ActivityReader
from miss_server.importers.establishments import ESTABLISHMENTS
from miss_server.importers.identifiers import slug
from miss_server.importers.mailboxes import MAILBOXES
from miss_server.importers.members import MemberReader
from miss_server.importers.readers import AHEAD_MS, Reader
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.reports import Allowed, Report
from miss_server.importers.skills import SkillReader
from miss_server.storage.directory import ImportedFile, day
from miss_server.storage.geography import SOURCE as COMMUNES
from miss_server.words import tr

_DAY_MS = 86_400_000
_PUBLISHED = (REGISTER, ESTABLISHMENTS, MAILBOXES, COMMUNES)


def check_names(texts: Sequence[Reader], before: Sequence[ImportedFile]) -> None:
    """Refuse an own list under the name of a published source, by which sources are believed, asked for and end
    accounts."""
    # One of another case was never taken for it, and another name would give its people other identifiers.
    known = {old.name for old in before}.difference(_PUBLISHED)
    for text in texts:
        taken = next((name for name in _PUBLISHED if slug(name) == slug(text.source)), None)
        if isinstance(text, MemberReader) and taken and text.source not in known:
            raise ImportRefused(
                "source_name",
                tr(
                    f"{text.name} is a list of your own, but {taken} is the name of a published source.",
                    f"{text.name} est une liste à vous, mais {taken} est le nom d'une source publiée.",
                ),
                tr(
                    "Rename the file: a list of your own is a source that is called as its file.",
                    "Renommez le fichier : une liste à vous est une source qui porte le nom de son"
                    " fichier.",
                ),
            )


def check_sources(
    texts: Sequence[Reader], before: Sequence[ImportedFile], allowed: Allowed
) -> None:
    """Refuse if no file of a source is given that the directory in force is made from."""
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


def check_older(
    texts: Sequence[Reader],
    files: Sequence[ImportedFile],
    before: Sequence[ImportedFile],
    allowed: Allowed,
    now_ms: int,
) -> None:
    """Refuse a file of a day before that in force. `files` are what is noted of the texts, in their order."""
    # A version before took the disk's date for the stated one when the same file came twice.
    stated = {text.source for text in texts if text.tells_date}
    for name, given, old in _beside(files, before):
        if not given:
            continue
        now = max(file.date_ms for file in given)
        dates = (one.since_ms if one.name in stated else one.date_ms for one in old)
        # A version before believed a day that was still to come.
        then = max((one for one in dates if one <= now_ms + AHEAD_MS), default=now)
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


def check_shrunk(
    files: Sequence[ImportedFile], before: Sequence[ImportedFile], share: float
) -> None:
    """Refuse if a source has many lines less, or its files of one kind have."""
    for name, given, old in _beside(files, before):
        now = sum(file.activities for file in given)
        then = sum(one.activities for one in old)
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


def _beside(
    files: Sequence[ImportedFile], before: Sequence[ImportedFile]
) -> Iterator[tuple[str, list[ImportedFile], list[ImportedFile]]]:
    """How the files of each source, or of each of its kinds, are called, those given and those in force.

    A source's activities hide what is missing in its skills. What a version before noted has no kinds: such a
    source is compared as a whole.
    """
    for name in dict.fromkeys(file.name for file in files):
        given = [file for file in files if file.name == name]
        old = [one for one in before if one.name == name]
        kinds = dict.fromkeys(file.kind for file in (*given, *old))
        if len(kinds) == 1 or not all(one.kind for one in old):
            yield name, given, old
            continue
        for kind in kinds:
            yield (
                f"{name} ({_KINDS.get(kind, kind)})",
                [file for file in given if file.kind == kind],
                [one for one in old if one.kind == kind],
            )


def check_rejected(text: Reader, share: float) -> None:
    """Refuse a file of which too many lines cannot be used."""
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


def check_gone(report: Report, share: float) -> None:
    """Refuse if too many entries would be gone."""
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


_KINDS = {
    ActivityReader.kind: tr("activities", "activités"),
    SkillReader.kind: tr("skills", "savoir-faire"),
}
_WHOLE = tr(
    "Check that the file is whole. If so many did leave, allow it with --max-gone.",
    "Vérifiez que le fichier est entier. Si tant d'entrées sont bien parties, autorisez-le avec"
    " --max-gone.",
)
