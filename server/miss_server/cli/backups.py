"""`miss-server backup` and `miss-server restore`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from miss_server.cli.common import (
    EXIT_USAGE,
    DatabaseOption,
    DomainOption,
    bar,
    fail,
    must_exist,
    operating_user,
    settings,
)
from miss_server.relay.clock import SystemClock
from miss_server.storage.sqlite import backups
from miss_server.storage.sqlite.backups import NotABackup
from miss_server.storage.sqlite.store import DatabaseError
from miss_server.words import tr

BACKUP_HELP = tr(
    "Copy the database to a file or into a folder, also beside a running server.\n\n"
    "The copy is of one moment, checked, and gets its name only when it is complete.\n\n"
    "Example: miss-server backup /mnt/backup/",
    "Copier la base dans un fichier ou un dossier, même pendant que le serveur fonctionne.\n\n"
    "La copie est celle d'un instant, vérifiée, et ne reçoit son nom qu'une fois complète.\n\n"
    "Exemple : miss-server backup /mnt/sauvegarde/",
)
RESTORE_HELP = tr(
    "Put a backup in the place of the database. Stop the server first.\n\n"
    "The replaced database is kept beside it. Clients are told, and send again what had not been"
    " delivered.\n\n"
    "Example: miss-server restore /mnt/backup/miss.sqlite",
    "Remettre une sauvegarde à la place de la base. Arrêtez d'abord le serveur.\n\n"
    "La base remplacée est gardée à côté. Les clients sont prévenus et renvoient ce qui n'avait"
    " pas été remis.\n\n"
    "Exemple : miss-server restore /mnt/sauvegarde/miss.sqlite",
)


def backup(
    target: Annotated[
        Path,
        typer.Argument(
            help=tr("A file, or a folder that exists.", "Un fichier ou un dossier existant.")
        ),
    ],
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Make a backup."""
    chosen = settings(database=database, domain=domain)
    must_exist(chosen.file)
    try:
        with bar(tr("copying", "copie")) as progress:
            made = backups.back_up(
                chosen.file,
                target,
                domain=chosen.domain,
                now_ms=SystemClock().now_ms(),
                progress=progress,
            )
    except NotABackup as error:
        fail(
            str(error),
            hint=tr("Choose another name.", "Choisissez un autre nom."),
        )
    except DatabaseError as error:
        fail(str(error), hint=_NO_BACKUP)
    except OSError as error:
        fail(f"{error.filename or target}: {error.strerror or error}", hint=_NO_BACKUP)
    size = made.bytes / (1 << 20)
    typer.echo(
        tr(f"{made.path}: {size:.1f} MiB, checked.", f"{made.path} : {size:.1f} Mio, vérifié.")
    )
    if made.beside:
        sys.stderr.write(
            tr(
                "miss-server: it is on the database's own disk: copy it to another machine\n",
                "miss-server : elle est sur le disque de la base : copiez-la sur une autre machine\n",
            )
        )


_NO_BACKUP = tr(
    "No backup was made; an earlier one is as it was.",
    "Aucune sauvegarde n'a été faite ; la précédente est inchangée.",
)


def restore(
    source: Annotated[Path, typer.Argument(help=tr("The backup.", "La sauvegarde."))],
    database: DatabaseOption = None,
    domain: DomainOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander confirmation."))
    ] = False,
) -> None:
    """Put a backup back."""
    chosen = settings(database=database, domain=domain)
    if not yes:
        _confirm(source, chosen.file)
    now_ms = SystemClock().now_ms()
    try:
        with bar(tr("copying", "copie")) as progress:
            done = backups.restore(
                source,
                chosen.file,
                domain=chosen.domain,
                now_ms=now_ms,
                actor=operating_user(),
                progress=progress,
            )
    except NotABackup as error:
        fail(str(error), hint=_UNCHANGED)
    except DatabaseError as error:
        fail(str(error), hint=_UNCHANGED)
    except OSError as error:
        fail(f"{error.filename or source}: {error.strerror or error}", hint=_UNCHANGED)
    made = _when(done.made_ms)
    typer.echo(
        tr(
            f"{chosen.file} is the backup of {made} now. Start the server.",
            f"{chosen.file} est désormais la sauvegarde du {made}. Démarrez le serveur.",
        )
    )
    if done.kept is not None:
        typer.echo(
            tr(
                f"The replaced database is kept as {done.kept}.",
                f"La base remplacée est gardée sous {done.kept}.",
            )
        )
    typer.echo(
        tr(
            "Clients will be told of a restore, and send again what had not been delivered.",
            "Les clients seront prévenus et renverront ce qui n'avait pas été remis.",
        )
    )


_UNCHANGED = tr(
    "Nothing was restored: the database is as it was.",
    "Rien n'a été remis en place : la base est inchangée.",
)


def _confirm(source: Path, database: Path) -> None:
    if not sys.stdin.isatty():
        fail(
            tr("a restore must be confirmed", "une restauration doit être confirmée"),
            hint=tr("Add --yes.", "Ajoutez --yes."),
            status=EXIT_USAGE,
        )
    typer.confirm(
        tr(
            f"Put {source} in the place of {database}? What came later is undone on this server.",
            f"Mettre {source} à la place de {database} ? Ce qui est venu ensuite y sera défait.",
        ),
        abort=True,
    )


def _when(made_ms: int | None) -> str:
    if made_ms is None:
        return tr("an unknown day", "jour inconnu")
    return datetime.fromtimestamp(made_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
