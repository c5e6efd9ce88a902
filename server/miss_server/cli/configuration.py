"""`miss-server config`."""

import sys

import typer

from miss_server.charter import load_charter
from miss_server.cli.common import DatabaseOption, DomainOption, fail, settings
from miss_server.cli.sources import unknown
from miss_server.words import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr("The settings of the server.", "Les réglages du serveur."),
)


@app.command(
    "check",
    help=tr(
        "Check the settings and show those in force. Each can be set as a MISS_ variable.\n\n"
        "Example: MISS_PORT=9000 miss-server config check",
        "Vérifier les réglages et montrer ceux en vigueur. Chacun peut être une variable MISS_.\n\n"
        "Exemple : MISS_PORT=9000 miss-server config check",
    ),
)
def check(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Check the settings."""
    chosen = settings(database=database, domain=domain)
    try:
        load_charter(chosen)
    except (OSError, UnicodeDecodeError) as error:
        fail(
            tr(f"the charter cannot be read: {error}", f"la charte est illisible : {error}"),
            hint=tr(
                "Set MISS_CHARTER_EN and MISS_CHARTER_FR to UTF-8 text files.",
                "Indiquez des fichiers texte UTF-8 dans MISS_CHARTER_EN et MISS_CHARTER_FR.",
            ),
        )
    for name, field in type(chosen).model_fields.items():
        typer.echo(f"MISS_{name.upper()}={getattr(chosen, name)}    # {field.description}")
    for name, meant in unknown():
        # `serve` would not start with it.
        sys.stderr.write(
            tr(f"miss-server: {name} is no setting", f"miss-server : {name} n'est pas un réglage")
            + (tr(f"; {meant} is\n", f" ; {meant} en est un\n") if meant else "\n")
        )
