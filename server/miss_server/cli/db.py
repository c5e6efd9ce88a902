"""`miss-server db`."""

import typer

from miss_server import observe
from miss_server.cli.common import DatabaseOption, DomainOption, bar, fail, settings
from miss_server.relay.clock import SystemClock
from miss_server.storage import migrating
from miss_server.storage.sqlite import upgrading
from miss_server.storage.sqlite.store import DatabaseError, ServeLock
from miss_server.words import tr

EXIT_NEEDED = 3

app = typer.Typer(
    no_args_is_help=True,
    help=tr("The tables of the database.", "Les tables de la base."),
)


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
    try:
        found = upgrading.schema_of(chosen.file) if chosen.file.exists() else None
    except DatabaseError as error:
        fail(str(error))
    last = migrating.last()
    if found is None:
        typer.echo(
            tr(
                f"{chosen.file} is empty: `miss-server serve` makes its tables.",
                f"{chosen.file} est vide : `miss-server serve` crée ses tables.",
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


@app.command(
    "upgrade",
    help=tr(
        "Take the database to this version's schema. A SQLite database is copied first; stop its"
        " server. `serve` does the same when it starts.\n\nExample: miss-server db upgrade",
        "Porter la base au schéma de cette version. Une base SQLite est d'abord copiée ; arrêtez"
        " son serveur. `serve` fait de même à son démarrage.\n\nExemple : miss-server db upgrade",
    ),
)
def upgrade(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Take the steps that are missing."""
    chosen = settings(database=database, domain=domain)
    observe.configure(json=chosen.log_json)
    lock = ServeLock(chosen.file)
    try:
        if not chosen.file.exists():
            fail(tr(f"there is no {chosen.file}", f"{chosen.file} n'existe pas"))
        lock.take()
        with bar(tr("copying", "copie")) as progress:
            done = upgrading.upgrade(
                chosen.file,
                domain=chosen.domain,
                now_ms=SystemClock().now_ms(),
                progress=progress,
            )
    except DatabaseError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or chosen.file}: {error.strerror}")
    finally:
        lock.release()
    if done is None:
        typer.echo(
            tr("Nothing to do: the schema is this version's.", "Rien à faire : schéma à jour.")
        )
        return
    typer.echo(
        tr(
            f"Schema {done.before} is {done.now} now. As it was: {done.kept}",
            f"Le schéma {done.before} est désormais {done.now}. Tel qu'il était : {done.kept}",
        )
    )
