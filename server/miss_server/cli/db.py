"""`miss-server db`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from miss_server import observe
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    bar,
    fail,
    must_exist,
    operating_user,
    settings,
)
from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.relay.clock import SystemClock
from miss_server.storage import migrating
from miss_server.storage.database import DatabaseError
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres import preparing
from miss_server.storage.postgres.moving import move
from miss_server.storage.postgres.pool import Options
from miss_server.storage.sqlite import upgrading
from miss_server.storage.sqlite.moving import unmove
from miss_server.stores import locked
from miss_server.words import tr

EXIT_NEEDED = 3

app = typer.Typer(
    no_args_is_help=True,
    help=tr("The tables of the database.", "Les tables de la base."),
)

FileArgument = Annotated[
    Path, typer.Argument(help=tr("The SQLite file.", "Le fichier SQLite."), show_default=False)
]


@app.command(
    "check",
    help=tr(
        "Say whether the database's schema is this version's (status 3: run `db upgrade`).\n\n"
        "Example: miss-server db check",
        "Dire si le schéma de la base est celui de cette version (statut 3 : `db upgrade`).\n\n"
        "Exemple : miss-server db check",
    ),
)
def check(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Compare the schema."""
    chosen = settings(database=database, domain=domain)
    with _told():
        found = _schema_of(chosen)
    last = migrating.last()
    if found is None:
        typer.echo(
            tr(
                f"{chosen.database} is empty: `miss-server serve` makes its tables.",
                f"{chosen.database} est vide : `miss-server serve` crée ses tables.",
            )
        )
    elif found == last:
        typer.echo(
            tr(
                f"Schema {found}: it is this version's.",
                f"Schéma {found} : c'est celui de cette version.",
            )
        )
    elif found > last:
        fail(
            tr(
                f"schema {found} is of a newer version; this one knows {last}",
                f"le schéma {found} est d'une version plus récente ; celle-ci connaît le {last}",
            ),
            hint=tr("Upgrade miss-server.", "Mettez miss-server à jour."),
        )
    else:
        fail(
            tr(
                f"schema {found}; this version's is {last}",
                f"schéma {found} ; celui de cette version est le {last}",
            ),
            hint=tr("Run `miss-server db upgrade`.", "Lancez `miss-server db upgrade`."),
            status=EXIT_NEEDED,
        )


def _schema_of(chosen: Settings) -> int | None:
    if isinstance(chosen.database, Dsn):
        return asyncio.run(preparing.schema_of(Options(chosen.postgres.secret)))
    return upgrading.schema_of(chosen.file) if chosen.file.exists() else None


@app.command(
    "upgrade",
    help=tr(
        "Take the database to this version's schema. PostgreSQL: once every node has this version,"
        " while they run. SQLite: `serve` does it by itself when it starts, after a copy.\n\n"
        "Example: miss-server db upgrade",
        "Porter la base au schéma de cette version. PostgreSQL : quand tous les nœuds ont cette"
        " version, pendant qu'ils tournent. SQLite : `serve` le fait à son démarrage, après une"
        " copie.\n\nExemple : miss-server db upgrade",
    ),
)
def upgrade(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Take the steps that are missing."""
    chosen = settings(database=database, domain=domain)
    observe.configure(json=chosen.log_json)
    with _told():
        if isinstance(chosen.database, Dsn):
            taken = asyncio.run(preparing.upgrade(Options(chosen.postgres.secret)))
            done = tr(f"{taken} steps taken.", f"{taken} étapes franchies.") if taken else ""
        else:
            done = _upgrade_file(chosen)
    typer.echo(
        done or tr("Nothing to do: the schema is this version's.", "Rien à faire : schéma à jour.")
    )


def _upgrade_file(chosen: Settings) -> str:
    must_exist(chosen.file)
    with locked(chosen.file), bar(tr("copying", "copie")) as progress:
        done = upgrading.upgrade(
            chosen.file, domain=chosen.domain, now_ms=SystemClock().now_ms(), progress=progress
        )
    if done is None:
        return ""
    return tr(
        f"Schema {done.before} is {done.now} now. As it was: {done.kept}",
        f"Le schéma {done.before} est désormais {done.now}. Tel qu'il était : {done.kept}",
    )


@app.command(
    "copy",
    help=tr(
        "Move a SQLite file into an empty PostgreSQL database; stop the server first. It may be cut"
        " off and run again. Afterwards the file is no longer used.\n\n"
        "Example: miss-server db copy miss.sqlite postgresql://miss@db.example.org/miss",
        "Déplacer un fichier SQLite dans une base PostgreSQL vide ; arrêtez d'abord le serveur."
        " Interrompue, la commande se relance. Ensuite le fichier ne sert plus.\n\n"
        "Exemple : miss-server db copy miss.sqlite postgresql://miss@db.example.org/miss",
    ),
)
def copy(
    source: FileArgument,
    target: Annotated[
        str,
        typer.Argument(
            help=tr("postgresql://user@host/database", "postgresql://utilisateur@hôte/base"),
            show_default=False,
        ),
    ],
    domain: DomainOption = None,
) -> None:
    """Move a file."""
    chosen = settings(database=target, domain=domain)
    if not isinstance(chosen.database, Dsn):
        fail(tr(f"{target} is no PostgreSQL database", f"{target} n'est pas une base PostgreSQL"))
    observe.configure(json=chosen.log_json)
    must_exist(source, by_option=False)
    with _told(), locked(source), bar(tr("moving", "déplacement")) as progress:
        copied = move(
            source,
            Options(chosen.postgres.secret),
            shown=str(chosen.database),
            domain=chosen.domain,
            now_ms=SystemClock().now_ms(),
            actor=operating_user(),
            progress=progress,
        )
    rows = sum(copied.rows.values())
    typer.echo(
        tr(
            f"{rows} rows are in {chosen.database}, each compared. Now start the server with it.",
            f"{rows} lignes sont dans {chosen.database}, toutes comparées."
            " Démarrez maintenant le serveur avec elle.",
        )
    )


@app.command(
    "unmove",
    help=tr(
        "Let a file that was moved into PostgreSQL serve again, as after a restore: what PostgreSQL"
        " has received since is not in it. Stop every node first.\n\n"
        "Example: miss-server db unmove miss.sqlite",
        "Rendre au service un fichier déplacé dans PostgreSQL, comme après une restauration : ce que"
        " PostgreSQL a reçu depuis n'y est pas. Arrêtez d'abord tous les nœuds.\n\n"
        "Exemple : miss-server db unmove miss.sqlite",
    ),
)
def go_back(source: FileArgument) -> None:
    """Take the mark off a file."""
    observe.configure(json=False)
    must_exist(source, by_option=False)
    with _told(), locked(source):
        unmove(source, now_ms=SystemClock().now_ms(), actor=operating_user())
    typer.echo(
        tr(
            f"{source} serves again, in a new epoch: clients submit what it does not have.",
            f"{source} est de nouveau en service, dans une nouvelle époque : les clients"
            " renverront ce qui lui manque.",
        )
    )


@contextmanager
def _told() -> Iterator[None]:
    """Say in one line what did not work."""
    try:
        yield
    except (DatabaseError, NotDurable) as error:
        fail(str(error))
    except SQLAlchemyError as error:
        fail(str(getattr(error, "orig", error)).splitlines()[0])
    except OSError as error:
        fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
