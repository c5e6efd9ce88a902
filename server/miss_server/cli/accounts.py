"""`miss-server accounts`: who has one, who is about to lose it, and whom it may write to."""

import json
import time
from typing import Annotated

import typer

from miss_protocol.directory import normalise
from miss_protocol.errors import RemoteError
from miss_protocol.ids import parse_address
from miss_server.cli import standing
from miss_server.cli.common import (
    EXIT_USAGE,
    DatabaseOption,
    DomainOption,
    JsonOption,
    fail,
    operating_user,
    printable,
    settings,
)
from miss_server.cli.stores import with_store
from miss_server.cli.times import time_of
from miss_server.storage.departures import Cause
from miss_server.words import tr

app = typer.Typer(
    invoke_without_command=True,
    help=tr(
        "List accounts: address, person, devices, when they were last seen.\n\n"
        'Example: miss-server accounts --name "anne dup"',
        "Lister les comptes : adresse, titulaire, appareils, dernière connexion.\n\n"
        'Exemple : miss-server accounts --name "anne dup"',
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
    name: Annotated[
        str,
        typer.Option(
            help=tr(
                "Only those of this name: beginnings of words, accents and case do not matter; or the "
                "person's identifier.",
                "Seulement ceux de ce nom : des débuts de mots, sans accents ni majuscules ; ou "
                "l'identifiant de la personne.",
            )
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List accounts."""
    if context.invoked_subcommand is not None:
        return
    words = normalise(name)
    if name.strip() and not words:
        fail(
            tr(f"no letter and no digit: {name}", f"ni lettre ni chiffre : {name}"),
            status=EXIT_USAGE,
        )
    found = with_store(
        settings(database=database, domain=domain),
        lambda store: store.listing(after=after, limit=limit + 1, words=words),
    )
    for one in found[:limit]:
        if as_json:
            who = {"address": one.address, "name": one.name, "person": one.person}
            typer.echo(json.dumps(who | {"devices": one.devices, "seen_ms": one.seen_ms}))
            continue
        seen = (
            tr("seen ", "vu le ") + time_of(one.seen_ms)
            if one.seen_ms
            else tr("never seen", "jamais vu")
        )
        devices = tr(f"{one.devices} devices", f"{one.devices} appareils")
        typer.echo(f"{one.address}  {_who(one.name, one.person)}  {devices}  {seen}")
    if len(found) > limit:
        last = found[limit - 1].address
        typer.echo(
            tr(f"There are more: --after {last}", f"Il y en a d'autres : --after {last}"), err=True
        )


def _who(name: str, person: str | None) -> str:
    return printable(f"{name} ({person})" if person else name)


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
def leaving(
    database: DatabaseOption = None, domain: DomainOption = None, as_json: JsonOption = False
) -> None:
    """List who is leaving."""
    found = with_store(settings(database=database, domain=domain), lambda store: store.departures())
    for one in found:
        if as_json:
            who = {"address": one.account, "name": one.name, "person": one.person}
            times = {"since_ms": one.since_ms, "due_ms": one.due_ms}
            typer.echo(
                json.dumps(
                    who | {"cause": one.cause.value} | times | {"suspended_ms": one.suspended_ms}
                )
            )
            continue
        begun, due = time_of(one.since_ms), time_of(one.due_ms)
        when = (
            tr(f"noticed {begun}, suspension {due}", f"constaté le {begun}, suspension le {due}")
            if one.suspended_ms is None
            else tr("suspended since ", "suspendu depuis le ") + time_of(one.suspended_ms)
        )
        typer.echo(f"{one.account}  {_who(one.name, one.person)}  {CAUSES[one.cause]}  {when}")


@app.command(
    "budget",
    help=tr(
        "Show or set how many people an account may write to for the first time: an hour and a day. "
        "Whoever has answered does not count. For a role that needs more than the settings give "
        "everybody, as a regulation centre, or less.\n\n"
        "Example: miss-server accounts budget ADDRESS --hour 60 --day 200",
        "Montrer ou fixer à combien de personnes un compte peut écrire pour la première fois, par heure "
        "et par jour. Qui a répondu ne compte pas. Pour une fonction qui demande plus que le réglage "
        "général, comme une régulation, ou moins.\n\n"
        "Exemple : miss-server accounts budget ADRESSE --hour 60 --day 200",
    ),
)
def budget(
    address: Annotated[str, typer.Argument(help=tr("The account's address.", "Son adresse."))],
    hour: Annotated[
        int | None, typer.Option(min=0, help=tr("New people an hour.", "Par heure."))
    ] = None,
    day: Annotated[
        int | None, typer.Option(min=0, help=tr("New people a day.", "Par jour."))
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help=tr("As everybody again.", "Comme tout le monde."))
    ] = False,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Show or set a budget."""
    chosen = settings(database=database, domain=domain)
    everybody = chosen.new_recipients_per_hour, chosen.new_recipients_per_day
    now_ms = time.time_ns() // 1_000_000
    try:
        account = parse_address(address)
        own = with_store(chosen, lambda store: store.budget(account))
        if default or hour is not None or day is not None:
            before = own or everybody
            wanted = (
                before[0] if hour is None else hour,
                before[1] if day is None else day,
            )
            own = None if default else wanted
            by = operating_user()
            with_store(
                chosen, lambda store: store.set_budget(account, own, now_ms=now_ms, actor=by)
            )
    except RemoteError as error:
        code = error.code
        fail(tr(code.text("en"), code.text("fr")))
    per_hour, per_day = own or everybody
    whose = tr("its own", "propre") if own else tr("everybody's", "générale")
    if chosen.new_recipients_by_role and not own:
        whose += tr(
            "; more by MISS_NEW_RECIPIENTS_BY_ROLE", " ; plus selon MISS_NEW_RECIPIENTS_BY_ROLE"
        )
    typer.echo(
        tr(
            f"{per_hour} new people an hour, {per_day} a day ({whose}).",
            f"{per_hour} nouvelles personnes par heure, {per_day} par jour (limite {whose}).",
        )
    )


app.command("restrict", help=standing.RESTRICT_HELP)(standing.restrict)
app.command("suspend", help=standing.SUSPEND_HELP)(standing.suspend)
app.command("restore", help=standing.RESTORE_HELP)(standing.restore)
app.command("standing", help=standing.STANDING_HELP)(standing.standing)
