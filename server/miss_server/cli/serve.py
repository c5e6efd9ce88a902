"""`miss-server serve`."""

from pathlib import Path
from typing import Annotated

import typer

from miss_server import observe
from miss_server.app import serve as run_server
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    fail,
    refuse_unknown_settings,
    settings,
)
from miss_server.refusals import REFUSED, line_of
from miss_server.words import tr

HELP = tr(
    "Run the server until Ctrl-C.\n\nExample: miss-server serve --domain miss.example.org",
    "Faire tourner le serveur jusqu'à Ctrl-C.\n\n"
    "Exemple : miss-server serve --domain miss.example.org",
)


def serve(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    host: Annotated[
        str | None,
        typer.Option(
            help=tr("The address to listen on.", "L'adresse d'écoute."), show_default="127.0.0.1"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help=tr("The port; 0 picks a free one.", "Le port ; 0 en choisit un libre."),
            show_default="8440",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help=tr(
                "The certificate with its chain, PEM; read anew when it changes.",
                "Le certificat et sa chaîne, PEM ; relu quand il change.",
            ),
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            help=tr("The certificate's private key, PEM.", "La clé privée du certificat, PEM."),
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help=tr(
                "Processes behind the port (PostgreSQL only).",
                "Processus derrière le port (PostgreSQL seulement).",
            ),
            show_default="1",
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json", help=tr("Log as JSON lines.", "Journal en lignes JSON.")),
    ] = None,
) -> None:
    """Run the server."""
    refuse_unknown_settings()
    chosen = settings(
        database=database,
        domain=domain,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        workers=workers,
        log_json=log_json,
    )
    observe.configure(json=chosen.log_json)
    try:
        run_server(chosen)
    except REFUSED as error:
        fail(line_of(error))
