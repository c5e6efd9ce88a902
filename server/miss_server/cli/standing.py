"""`miss-server accounts restrict`, `suspend`, `restore` and `standing`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.cli.common import (
    EXIT_USAGE,
    DatabaseOption,
    DomainOption,
    address_of,
    fail,
    operating_user,
    settings,
)
from miss_server.cli.ringing import ring_nodes
from miss_server.cli.stores import with_store
from miss_server.config import Settings
from miss_server.relay.clock import SystemClock
from miss_server.storage.standing import REASON_MAX, Change, State
from miss_server.stores import Store
from miss_server.words import tr

AccountArgument = Annotated[
    str, typer.Argument(help=tr("The account's address.", "L'adresse du compte."))
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        help=tr(
            "Shown to the account's owner exactly as written.",
            "Montré au titulaire du compte exactement tel quel.",
        ),
    ),
]
Decide = Callable[[Store, AccountAddress, str, int], Awaitable[Change]]

RESTRICT_HELP = tr(
    "Let an account write only to those who have answered it. Its owner is told the reason.\n\n"
    'Example: miss-server accounts restrict ADDRESS --reason "Advertising; see the charter, 4."',
    "Ne laisser un compte écrire qu'à ceux qui lui ont répondu. Son titulaire en lit le motif.\n\n"
    'Exemple : miss-server accounts restrict ADRESSE --reason "Publicité ; voir la charte, 4."',
)
SUSPEND_HELP = tr(
    "Suspend an account at once on every node: its connections end, nobody can write to it, and its"
    " owner is told the reason. What waits for it is kept until it expires.\n\n"
    'Example: miss-server accounts suspend ADDRESS --reason "Advertising after a warning."',
    "Suspendre un compte aussitôt sur tous les nœuds : ses connexions prennent fin, personne ne peut"
    " plus lui écrire et son titulaire en lit le motif. Ce qui l'attend est gardé jusqu'à expiration."
    '\n\nExemple : miss-server accounts suspend ADRESSE --reason "Publicité malgré un avertissement."',
)
RESTORE_HELP = tr(
    "Take a restriction or a suspension back.\n\n"
    'Example: miss-server accounts restore ADDRESS --reason "Settled by telephone."',
    "Lever une restriction ou une suspension.\n\n"
    'Exemple : miss-server accounts restore ADRESSE --reason "Réglé par téléphone."',
)
STANDING_HELP = tr(
    "List accounts that are restricted or suspended, with the reasons.\n\n"
    "Example: miss-server accounts standing",
    "Lister les comptes restreints ou suspendus, avec les motifs.\n\n"
    "Exemple : miss-server accounts standing",
)


def restrict(
    account: AccountArgument,
    reason: ReasonOption,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Restrict an account."""
    _change(account, reason, settings(database=database, domain=domain), _put(State.RESTRICTED))


def suspend(
    account: AccountArgument,
    reason: ReasonOption,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Suspend an account."""
    _change(account, reason, settings(database=database, domain=domain), _put(State.SUSPENDED))


def restore(
    account: AccountArgument,
    reason: ReasonOption,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Reinstate an account."""

    async def take_back(store: Store, address: AccountAddress, text: str, now_ms: int) -> Change:
        return await store.reinstate(address, reason=text, actor=operating_user(), now_ms=now_ms)

    _change(account, reason, settings(database=database, domain=domain), take_back)


def standing(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """List decisions in force."""
    found = with_store(settings(database=database, domain=domain), lambda store: store.standings())
    for one in found:
        since = datetime.fromtimestamp(one.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        typer.echo(f"{one.account}  {_STATES[one.state]}  {since}  {one.actor}  {one.reason}")


_STATES = {
    State.RESTRICTED: tr("restricted", "restreint"),
    State.SUSPENDED: tr("suspended", "suspendu"),
}


def _put(state: State) -> Decide:
    async def put(store: Store, address: AccountAddress, text: str, now_ms: int) -> Change:
        return await store.set_standing(
            address, state, reason=text, actor=operating_user(), now_ms=now_ms
        )

    return put


def _change(account: str, reason: str, chosen: Settings, decide: Decide) -> None:
    address = address_of(account)
    text = reason_of(reason)

    async def work(store: Store) -> Change | None:
        try:
            change = await decide(store, address, text, SystemClock().now_ms())
        except Refused as refused:
            if refused.code is not Code.UNKNOWN_ACCOUNT:
                raise  # a database without the tables: `with_store` tells
            return None
        await ring_nodes(chosen, change.sessions)
        return change

    change = with_store(chosen, work)
    if change is None:
        fail(tr(f"there is no account {address}", f"il n'y a pas de compte {address}"))
    tell(address, change)


def tell(address: AccountAddress, change: Change) -> None:
    """Say what a decision did."""
    typer.echo(
        tr(f"Done: {address}", f"C'est fait : {address}")
        if change.changed
        else tr(f"Nothing to do: {address}", f"Rien à faire : {address}")
    )
    if change.still:
        typer.echo(
            tr(
                "It stays suspended for another cause: see `accounts leaving` and `audit show`.",
                "Il reste suspendu pour une autre cause : voir `accounts leaving` et `audit show`.",
            )
        )


def reason_of(text: str) -> str:
    """A reason that can be shown; ends the command if it is none."""
    plain = " ".join(text.split())
    if not plain or len(plain) > REASON_MAX or not plain.isprintable():
        fail(
            tr(
                f"a reason has 1 to {REASON_MAX} characters",
                f"un motif a de 1 à {REASON_MAX} caractères",
            ),
            status=EXIT_USAGE,
        )
    return plain
