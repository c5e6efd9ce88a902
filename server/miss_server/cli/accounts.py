"""`miss-server accounts`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miss_server.cli.common import DatabaseOption, DomainOption, settings
from miss_server.cli.stores import with_store
from miss_server.words import tr

HELP = tr(
    "List accounts with their number of devices and when they were last seen.\n\n"
    "Example: miss-server accounts --limit 20",
    "Lister les comptes, leur nombre d'appareils et leur dernière connexion.\n\n"
    "Exemple : miss-server accounts --limit 20",
)


def accounts(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    limit: Annotated[
        int,
        typer.Option(min=1, max=10_000, help=tr("How many at most.", "Combien au plus.")),
    ] = 100,
    after: Annotated[
        str, typer.Option(help=tr("Go on after this address.", "Continuer après cette adresse."))
    ] = "",
) -> None:
    """List accounts."""
    found = with_store(
        settings(database=database, domain=domain),
        lambda store: store.listing(after=after, limit=limit),
    )
    table = Table(
        tr("Address", "Adresse"),
        tr("Name", "Nom"),
        tr("Person", "Personne"),
        tr("Devices", "Appareils"),
        tr("Last seen", "Vu le"),
    )
    for account in found:
        seen = (
            datetime.fromtimestamp(account.seen_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
            if account.seen_ms
            else tr("never", "jamais")
        )
        table.add_row(
            account.address, account.name, account.person or "", str(account.devices), seen
        )
    Console().print(table)
