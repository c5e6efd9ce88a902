"""`miss-server organisations admin`: who enrols and ends an establishment's own people."""

from collections.abc import Iterable
from itertools import groupby
from typing import Annotated

import typer

from miss_protocol.errors import Code, Refused
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    address_of,
    fail,
    operating_user,
    settings,
)
from miss_server.cli.stores import with_store
from miss_server.cli.times import time_of
from miss_server.relay.clock import SystemClock
from miss_server.storage.directory import name_of
from miss_server.storage.organisations import Administrator
from miss_server.stores import Store
from miss_server.words import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Establishments, services and associations of the directory.\n\n"
        "Example: miss-server organisations admin list",
        "Établissements, services et associations de l'annuaire.\n\n"
        "Exemple : miss-server organisations admin list",
    ),
)
admin = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Who enrols the people of an organisation and ends their access: add, remove, list.\n\n"
        "Example: miss-server organisations admin add 1599900018 ADDRESS",
        "Qui inscrit les personnes d'une organisation et met fin à leurs accès : add, remove, list.\n\n"
        "Exemple : miss-server organisations admin add 1599900018 ADRESSE",
    ),
)
app.add_typer(admin, name="admin")

OrganisationArgument = Annotated[
    str,
    typer.Argument(
        metavar=tr("ORGANISATION", "ORGANISATION"),
        help=tr(
            "Its identifier in the directory: 1 + FINESS number, or another.",
            "Son identifiant dans l'annuaire : 1 + numéro FINESS, ou un autre.",
        ),
    ),
]
AccountArgument = Annotated[
    str,
    typer.Argument(
        metavar=tr("ACCOUNT", "COMPTE"), help=tr("The account's address.", "L'adresse du compte.")
    ),
]


@admin.command(
    "add",
    help=tr(
        "Name an account an administrator of an organisation. It may then vouch for people without a "
        "national number whom your list attaches to the organisation, hand out codes to them and to the "
        "professionals who work there, and end its own people's access.\n\n"
        "Example: miss-server organisations admin add 1599900018 ADDRESS",
        "Nommer un compte administrateur d'une organisation. Il peut alors attester les personnes sans "
        "numéro national que votre liste rattache à l'organisation, leur remettre des codes, ainsi qu'aux "
        "professionnels qui y exercent, et mettre fin aux accès de ses propres personnes.\n\n"
        "Exemple : miss-server organisations admin add 1599900018 ADRESSE",
    ),
)
def add(
    organisation: OrganisationArgument,
    account: AccountArgument,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Name an administrator."""
    address = address_of(account)

    async def work(store: Store) -> tuple[bool, str] | Code:
        now_ms = SystemClock().now_ms()
        try:
            given = await store.add_administrator(
                organisation, address, actor=operating_user(), now_ms=now_ms
            )
        except Refused as refused:
            if refused.code not in (Code.NOT_FOUND, Code.UNKNOWN_ACCOUNT):
                raise  # a database without the tables: `with_store` tells
            return refused.code
        entry = await store.entry(organisation, now_ms=now_ms)
        return given, name_of(entry) if entry else organisation

    done = with_store(settings(database=database, domain=domain), work)
    if done is Code.NOT_FOUND:
        fail(
            tr(
                f"the directory has no organisation {organisation}",
                f"l'annuaire n'a pas d'organisation {organisation}",
            ),
            hint=tr(
                "Import the file that has it first: miss-server directory import FILE",
                "Importez d'abord le fichier qui la contient : miss-server directory import FICHIER",
            ),
        )
    if isinstance(done, Code):
        fail(
            tr(
                f"there is no account {address} with a device",
                f"il n'y a pas de compte {address} avec un appareil",
            )
        )
    given, shown = done
    typer.echo(
        tr(f"{address} acts for {shown} now.", f"{address} agit désormais pour {shown}.")
        if given
        else tr(f"{address} acts for {shown} already.", f"{address} agit déjà pour {shown}.")
    )


@admin.command(
    "remove",
    help=tr(
        "Take the role away, at once. What was done by it stays.\n\n"
        "Example: miss-server organisations admin remove 1599900018 ADDRESS",
        "Retirer la fonction, aussitôt. Ce qui a été fait reste.\n\n"
        "Exemple : miss-server organisations admin remove 1599900018 ADRESSE",
    ),
)
def remove(
    organisation: OrganisationArgument,
    account: AccountArgument,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Remove an administrator."""
    address = address_of(account)

    async def work(store: Store) -> tuple[bool, list[Administrator]]:
        gone = await store.remove_administrator(
            organisation, address, actor=operating_user(), now_ms=SystemClock().now_ms()
        )
        return gone, await store.administrators(organisation)

    gone, left = with_store(settings(database=database, domain=domain), work)
    if not gone:
        fail(
            tr(
                f"{address} is no administrator of {organisation}",
                f"{address} n'est pas administrateur de {organisation}",
            )
        )
    typer.echo(tr("The role is taken away.", "La fonction est retirée."))
    if not any(one.acts for one in left):
        typer.echo(_nobody_acts())


@admin.command(
    "list",
    help=tr(
        "List organisations with their administrators, past ones among them, and those for which "
        "nobody can act at present.\n\nExample: miss-server organisations admin list",
        "Lister les organisations et leurs administrateurs, anciens compris, et celles pour "
        "lesquelles personne ne peut agir.\n\nExemple : miss-server organisations admin list",
    ),
)
def listing(
    organisation: Annotated[
        str, typer.Option(help=tr("Only this one.", "Seulement celle-ci."))
    ] = "",
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """List administrators."""

    async def work(store: Store) -> tuple[list[Administrator], dict[str, str]]:
        found = await store.administrators(organisation or None)
        persons = sorted({one.organisation for one in found})
        entries = await store.entries(persons, now_ms=SystemClock().now_ms())
        return found, {person: name_of(entry) for person, entry in entries.items()}

    found, names = with_store(settings(database=database, domain=domain), work)
    for identifier, roles in groupby(found, key=lambda one: one.organisation):
        shown = names.get(identifier) or tr("NOT IN THE DIRECTORY", "ABSENTE DE L'ANNUAIRE")
        typer.echo(f"{identifier}  {shown}")
        for line in _lines(list(roles)):
            typer.echo(f"    {line}")


def _lines(roles: list[Administrator]) -> Iterable[str]:
    for one in roles:
        since = time_of(one.given_ms)
        if one.removed_ms is not None:
            state = tr("until ", "jusqu'au ") + time_of(one.removed_ms)
        elif one.acts:
            state = tr("acts", "agit")
        else:
            state = tr(
                "CANNOT ACT (suspended, restricted or leaving)",
                "NE PEUT AGIR (suspendu, restreint ou sur le départ)",
            )
        yield f"{one.account}  {one.name}  {since}  {state}"
    if not any(one.acts for one in roles):
        yield _nobody_acts()


def _nobody_acts() -> str:
    return tr(
        "NOBODY ACTS for this organisation: its people's access is yours to end.",
        "PERSONNE N'AGIT pour cette organisation : à vous de mettre fin aux accès.",
    )
