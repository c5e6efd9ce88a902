"""What an import of the directory did, in words."""

from collections.abc import Sequence

import typer

from miss_server.importers.faults import Faults
from miss_server.importers.importing import Report
from miss_server.words import tr

SHOWN_MAX = 20
"""Lines of a file that are listed; the others are counted."""
OLD_DAYS = 30
"""The register is published daily: a file older than this is said to be old."""

_REASONS = {
    "not UTF-8": "n'est pas en UTF-8",
    "a control character": "un caractère de contrôle",
    "too few columns": "trop peu de colonnes",
    "too many columns": "trop de colonnes",
    "no name": "pas de nom",
    "unknown type of identifier": "type d'identifiant inconnu",
    "an RPPS identifier has eleven digits": "un identifiant RPPS a onze chiffres",
    "an ADELI identifier has nine digits": "un identifiant ADELI a neuf chiffres",
    "the check digit of the RPPS identifier is wrong": "la clé de l'identifiant RPPS est fausse",
    "the national identifier is not the type digit and the identifier": (
        "l'identification nationale n'est pas le type suivi de l'identifiant"
    ),
}


def tell(report: Report, *, dry_run: bool, now_ms: int) -> None:
    """Print what an import did: the result on stdout, what deserves a look on stderr."""
    if dry_run:
        typer.echo(tr("Dry run: nothing was changed.", "Essai : rien n'a été changé."))
    typer.echo(
        tr(
            f"{report.people} people, {report.activities} activities: {report.added} added,"
            f" {report.changed} changed, {report.unchanged} unchanged, {report.gone} gone.",
            f"{report.people} personnes, {report.activities} activités : {report.added} ajoutées,"
            f" {report.changed} modifiées, {report.unchanged} inchangées, {report.gone} parties.",
        )
    )
    for file in report.files:
        days = (now_ms - file.date_ms) // 86_400_000
        typer.echo(
            tr(
                f"Source: {file.name}, {file.file}, data of {file.date} ({days} days old).",
                f"Source : {file.name}, {file.file}, données du {file.date} ({days} jours).",
            )
        )
        if days > OLD_DAYS:
            warn(
                tr(
                    "This is old data: fetch the register's file of today.",
                    "Ces données sont anciennes : prenez le fichier du jour du répertoire.",
                )
            )
    for name in report.without_specialities:
        warn(
            tr(
                f"{name} has no column of specialities: doctors are found by their profession only.",
                f"{name} n'a pas de colonne des spécialités : les médecins ne sont trouvés que"
                " par leur profession.",
            )
        )
    warn(
        *_counted(report.rejected, tr("lines left out", "lignes écartées")),
        *listed(report.rejected),
        *_counted(
            report.warnings,
            tr("lines kept in spite of their identifier", "lignes gardées malgré leur identifiant"),
        ),
        *listed(report.warnings),
    )


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
