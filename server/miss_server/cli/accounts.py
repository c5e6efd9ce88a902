"""`miss-server accounts`: who has one, and who is about to lose it."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miss_server.cli.common import DatabaseOption, DomainOption, settings
from miss_server.cli.stores import with_store
from miss_server.storage.departures import Cause
from miss_server.words import tr

app = typer.Typer(
    invoke_without_command=True,
    help=tr(
        "List accounts with their number of devices and when they were last seen.\n\n"
        "Example: miss-server accounts --limit 20",
        "Lister les comptes, leur nombre d'appareils et leur dernière connexion.\n\n"
        "Exemple : miss-server accounts --limit 20",
    ),
)

CAUSES = {
    Cause.LEFT: tr("left the directory", "n'est plus dans l'annuaire"),
    Cause.UNATTESTED: tr("no attestation any more", "n'est plus attesté"),
}


@app.callback()
def accounts(
    context: typer.Context,
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
    if context.invoked_subcommand is not None:
        return
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
        seen = _time(account.seen_ms) if account.seen_ms else tr("never", "jamais")
        table.add_row(
            account.address, account.name, account.person or "", str(account.devices), seen
        )
    Console().print(table)


@app.command(
    "leaving",
    help=tr(
        "List accounts that will be suspended, or were, because their person has left the directory "
        "or nothing vouches for them any more. They were told; who comes back stays.\n\n"
        "Example: miss-server accounts leaving",
        "Lister les comptes qui seront suspendus, ou l'ont été, parce que leur titulaire n'est plus "
        "dans l'annuaire ou que plus rien ne l'atteste. Ils en sont avertis ; qui revient reste."
        "\n\nExemple : miss-server accounts leaving",
    ),
)
def leaving(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """List who is leaving."""
    found = with_store(settings(database=database, domain=domain), lambda store: store.departures())
    table = Table(
        tr("Address", "Adresse"),
        tr("Name", "Nom"),
        tr("Person", "Personne"),
        tr("Why", "Pourquoi"),
        tr("Since", "Depuis"),
        tr("Suspension", "Suspension"),
    )
    for one in found:
        when = (
            tr("on ", "le ") + _time(one.due_ms)
            if one.suspended_ms is None
            else tr("since ", "depuis le ") + _time(one.suspended_ms)
        )
        table.add_row(
            one.account, one.name, one.person, CAUSES[one.cause], _time(one.since_ms), when
        )
    Console().print(table)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
