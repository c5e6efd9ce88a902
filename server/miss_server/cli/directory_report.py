"""What an import of the directory did, in words."""

from collections.abc import Sequence

import typer

from miss_server.importers.faults import Faults
from miss_server.importers.importing import Report
from miss_server.importers.nomenclatures import editions
from miss_server.operating.freshness import DAILY, DAY_MS, is_old
from miss_server.storage.directory import ImportedFile
from miss_server.words import tr

SHOWN_MAX = 20
"""Lines of a file that are listed; the others are counted."""
STILL_DAYS = 3
"""Days for which a source that is published daily may say the very same."""

_REASONS = {
    "not UTF-8": "n'est pas en UTF-8",
    "a control character": "un caractère de contrôle",
    "too few columns": "trop peu de colonnes",
    "too many columns": "trop de colonnes",
    "no name": "pas de nom",
    "no mailbox address": "pas d'adresse de messagerie",
    "unknown type of mailbox": "type de boîte aux lettres inconnu",
    "unknown identifier of a structure": "identifiant de structure inconnu",
    "unknown type of identifier": "type d'identifiant inconnu",
    "an RPPS identifier has eleven digits": "un identifiant RPPS a onze chiffres",
    "an ADELI identifier has nine digits": "un identifiant ADELI a neuf chiffres",
    "the check digit of the RPPS identifier is wrong": "la clé de l'identifiant RPPS est fausse",
    "not a structure's number, a slash and a number within it": (
        "ni un numéro de structure, une barre et un numéro interne"
    ),
    "a FINESS number has nine characters": "un numéro FINESS a neuf caractères",
    "the check digit of the FINESS number is wrong": "la clé du numéro FINESS est fausse",
    "the national identifier is not the type digit and the identifier": (
        "l'identification nationale n'est pas le type suivi de l'identifiant"
    ),
    "the kind is neither person nor organisation nor service": (
        "la nature n'est ni personne, ni organisation, ni service"
    ),
    "neither a national nor a local identifier": "ni identifiant national, ni identifiant local",
    "a local identifier that another one is written like": (
        "un identifiant local qui s'écrit presque comme un autre"
    ),
    "a local identifier of another file of this list": (
        "un identifiant local d'un autre fichier de cette liste"
    ),
    "a quote that is not closed": "un guillemet qui n'est pas fermé",
    "no code of a commune": "pas de code de commune",
    "no coordinates": "pas de coordonnées",
    "coordinates that are not in France": "des coordonnées hors de France",
}


def tell(report: Report, *, dry_run: bool, now_ms: int) -> None:
    """Print what an import did: the result on stdout, what deserves a look on stderr."""
    if dry_run:
        typer.echo(tr("Dry run: nothing was changed.", "Essai : rien n'a été changé."))
    typer.echo(
        tr(
            f"{report.people} people, {report.organisations} organisations, {report.lines} lines:"
            f" {report.added} added, {report.changed} changed, {report.unchanged} unchanged,"
            f" {report.gone} gone.",
            f"{report.people} personnes, {report.organisations} organisations, {report.lines} lignes :"
            f" {report.added} ajoutées, {report.changed} modifiées, {report.unchanged} inchangées,"
            f" {report.gone} parties.",
        )
    )
    if report.communes:
        typer.echo(
            tr(
                f"{report.communes} communes, the centre of {report.placed} is known.",
                f"{report.communes} communes, le centre de {report.placed} est connu.",
            )
        )
    for file in report.files:
        _tell_file(file, now_ms)
    for file, said in report.ahead:
        warn(
            tr(
                f"{file.file} is dated {said}, which is still to come: it is taken as of {file.date}."
                " Check its name, and this machine's clock.",
                f"{file.file} porte la date du {said}, qui est à venir : il est pris comme étant du"
                f" {file.date}. Vérifiez son nom, et l'horloge de cette machine.",
            )
        )
    typer.echo(tr("Labels: ", "Libellés : ") + _nomenclatures())
    for name in report.without_specialities:
        warn(
            tr(
                f"{name} has no column of specialities: give the file of skills with it, or doctors are"
                " found by their profession only.",
                f"{name} n'a pas de colonne des spécialités : donnez avec lui le fichier des"
                " savoir-faire, sinon les médecins ne sont trouvés que par leur profession.",
            )
        )
    if report.nameless:
        warn(
            tr(
                f"{report.nameless} identifiers left out: no line names them.",
                f"{report.nameless} identifiants écartés : aucune ligne ne les nomme.",
            )
        )
    warn(
        *_conflicts(report),
        *_counted(report.rejected, tr("lines left out", "lignes écartées")),
        *listed(report.rejected),
        *_counted(
            report.warnings,
            tr("lines kept in spite of a fault", "lignes gardées malgré un défaut"),
        ),
        *listed(report.warnings),
    )


def _tell_file(file: ImportedFile, now_ms: int) -> None:
    age_ms = now_ms - file.date_ms
    days = age_ms // DAY_MS
    typer.echo(
        tr(
            f"Source: {file.name}, {file.file}, data of {file.date} ({days} days old).",
            f"Source : {file.name}, {file.file}, données du {file.date} ({days} jours).",
        )
    )
    if is_old(file.name, age_ms):
        warn(
            tr(
                "This is old data: fetch the source's newest file.",
                "Ces données sont anciennes : prenez le dernier fichier de la source.",
            )
        )
    still = (file.date_ms - file.since_ms) // DAY_MS
    if file.name in DAILY and still >= STILL_DAYS:
        warn(
            tr(
                f"{file.name} stands still: not a byte has changed since {file.source.unchanged_since}"
                f" ({still} days).",
                f"{file.name} n'avance plus : pas un octet n'a changé depuis le"
                f" {file.source.unchanged_since} ({still} jours).",
            )
        )


def _nomenclatures() -> str:
    return ", ".join(
        tr(
            f"{one.name}, version {one.version} of {one.date}",
            f"{one.name}, version {one.version} du {one.date}",
        )
        for one in editions()
    )


def _conflicts(report: Report) -> list[str]:
    if not report.conflict_count:
        return []
    count = report.conflict_count
    return [
        tr(
            f"{count} people bear different names in two sources, or two share a number of your own list;"
            " the first one is shown:",
            f"{count} personnes portent des noms différents dans deux sources, ou deux partagent un numéro"
            " de votre liste ; le premier est montré :",
        ),
        *(
            f"  {one.person}: " + " / ".join(f"{name} ({source})" for source, name in one.names)
            for one in report.conflicts[:SHOWN_MAX]
        ),
    ]


def _counted(faults: Sequence[Faults], what: str) -> list[str]:
    count = sum(one.count for one in faults)
    return [f"{count} {what}" + tr(":", " :")] if count else []


def listed(faults: Sequence[Faults]) -> list[str]:
    """The first lines one by one, and how many there are for each reason."""
    lines = [
        tr(f"  {file}, line {line}: {why}", f"  {file}, ligne {line} : {_REASONS.get(why, why)}")
        for one in faults
        for file, line, why in one.listed
    ]
    if len(lines) <= SHOWN_MAX:
        return lines
    return lines[:SHOWN_MAX] + [
        tr(f"  in all: {count} x {why}", f"  en tout : {count} x {_REASONS.get(why, why)}")
        for one in faults
        for why, count in one.reasons.most_common()
    ]


def warn(*lines: str) -> None:
    """Print lines on stderr."""
    for line in lines:
        typer.echo(line, err=True)
