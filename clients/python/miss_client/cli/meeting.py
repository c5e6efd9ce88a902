"""`miss requests`, `accept`, `decline`, `block`, `unblock` and `reach`: people who are new."""

from datetime import datetime
from enum import Enum
from typing import Annotated

import msgspec
import typer

from miss_client import meeting
from miss_client.cli.common import StoreOption, ask_dates, clean, out, resolve, with_client
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.meeting import Act, Contact, ReachRules

REQUESTS_HELP = tr(
    "List who wrote to you for the first time and has no answer; --all for everybody you met.\n\n"
    "Example: miss requests",
    "Lister qui vous a écrit pour la première fois et n'a pas de réponse ; --all pour tous.\n\n"
    "Exemple : miss requests",
)
ACCEPT_HELP = tr(
    "Let somebody write to you without an answer; ends decline and block.\n\n"
    "Example: miss accept ADDRESS",
    "Laisser quelqu'un vous écrire sans réponse ; met fin à decline et block.\n\n"
    "Exemple : miss accept ADRESSE",
)
DECLINE_HELP = tr(
    "Refuse somebody's messages from now on. They are told; write to them, or accept, to end it.\n\n"
    "Example: miss decline ADDRESS",
    "Refuser désormais les messages de quelqu'un. Il en est averti ; écrivez-lui, ou accept, pour y "
    "mettre fin.\n\nExemple : miss decline ADRESSE",
)
BLOCK_HELP = tr(
    "Take nothing of somebody from now on. They are not told: it looks like silence.\n\n"
    "Example: miss block ADDRESS",
    "Ne plus rien recevoir de quelqu'un. Il n'en est pas averti : il voit un silence.\n\n"
    "Exemple : miss block ADRESSE",
)
UNBLOCK_HELP = tr(
    "End a block; what was before it is in force again.\n\nExample: miss unblock ADDRESS",
    "Mettre fin à un blocage ; ce qui valait avant vaut de nouveau.\n\n"
    "Exemple : miss unblock ADRESSE",
)
REACH_HELP = tr(
    "Show or say who may write to you first, and who finds you. Contacts stay contacts.\n\n"
    "Example: miss reach --written-by listed --profession 10 --establishment 1590000001",
    "Montrer ou dire qui peut vous écrire en premier, et qui vous trouve. Vos correspondants le "
    "restent.\n\nExemple : miss reach --written-by listed --profession 10 --establishment 1590000001",
)

_Who = Annotated[
    str, typer.Argument(help=tr("An address, or directory words.", "Une adresse, ou des mots."))
]


class Who(Enum):
    """`Whom`, as an option takes it."""

    ANYONE = "anyone"
    CONTACTS = "contacts"
    LISTED = "listed"


_STANCES = {
    "none": tr("nothing between you", "rien entre vous"),
    "request": tr("new: accept, decline or block", "nouveau : accept, decline ou block"),
    "contact": tr("contact", "correspondant"),
    "declined": tr("declined", "refusé"),
    "blocked": tr("blocked", "bloqué"),
}
_WHOM = {
    "anyone": tr("anyone", "tout le monde"),
    "contacts": tr("contacts only", "vos correspondants"),
    "listed": tr("contacts and those listed", "vos correspondants et la liste"),
}


def requests(
    everybody: Annotated[
        bool, typer.Option("--all", help=tr("Everybody you met.", "Toutes vos relations."))
    ] = False,
    store: StoreOption = None,
) -> None:
    """List requests."""

    async def work(client: Client) -> None:
        list_them = meeting.met if everybody else meeting.requests
        found = await list_them(client.calls)
        for one in found:
            out.print(_line(one))
        if found:
            await ask_dates(client)
        if not found:
            out.print(tr("Nobody.", "Personne."))

    with_client(store, work)


def _act(who: str, what: Act, store: StoreOption) -> None:
    async def work(client: Client) -> None:
        address = await resolve(client, who)
        out.print(_line(await meeting.act(client.calls, address, what)))

    with_client(store, work)


def accept(who: _Who, store: StoreOption = None) -> None:
    """Accept somebody."""
    _act(who, "accept", store)


def decline(who: _Who, store: StoreOption = None) -> None:
    """Decline somebody."""
    _act(who, "decline", store)


def block(who: _Who, store: StoreOption = None) -> None:
    """Block somebody."""
    _act(who, "block", store)


def unblock(who: _Who, store: StoreOption = None) -> None:
    """Unblock somebody."""
    _act(who, "unblock", store)


def reach(
    written_by: Annotated[
        Who | None, typer.Option(help=tr("Who may write first.", "Qui peut écrire en premier."))
    ] = None,
    found_by: Annotated[Who | None, typer.Option(help=tr("Who finds you.", "Qui trouve."))] = None,
    profession: Annotated[
        list[str] | None,
        typer.Option(help=tr("A profession's code, for `listed`.", "Un code de profession.")),
    ] = None,
    establishment: Annotated[
        list[str] | None,
        typer.Option(help=tr("An establishment's identifier.", "Un identifiant de structure.")),
    ] = None,
    red_list: Annotated[
        bool | None,
        typer.Option(help=tr("No search finds you.", "Aucune recherche ne vous trouve.")),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Show or set who reaches and finds the account."""

    async def work(client: Client) -> None:
        rules = before = await meeting.reach(client.calls)
        if written_by is not None:
            rules = msgspec.structs.replace(rules, reached_by=written_by.value)
        if found_by is not None:
            rules = msgspec.structs.replace(rules, found_by=found_by.value)
        if profession is not None:
            rules = msgspec.structs.replace(rules, professions=tuple(profession))
        if establishment is not None:
            rules = msgspec.structs.replace(rules, establishments=tuple(establishment))
        if red_list is not None:
            rules = msgspec.structs.replace(rules, red_listed=red_list)
        if rules != before:
            rules = await meeting.set_reach(client.calls, rules)
        _tell(rules)

    with_client(store, work)


def _tell(rules: ReachRules) -> None:
    out.print(tr("May write first: ", "Peuvent écrire en premier : ") + _WHOM[rules.reached_by])
    found = tr("nobody (red list)", "personne (liste rouge)")
    if not rules.red_listed:
        found = _WHOM[rules.found_by]
    out.print(tr("Find you: ", "Vous trouvent : ") + found)
    for name, listed in (
        (tr("Professions: ", "Professions : "), rules.professions),
        (tr("Establishments: ", "Structures : "), rules.establishments),
    ):
        if listed:
            out.print(clean(name + ", ".join(listed)))


def _line(one: Contact) -> str:
    since = ""
    if one.stance == "request":
        at = datetime.fromtimestamp(one.wrote / 1000).astimezone().strftime("%d/%m %H:%M")
        since = tr(f", wrote on {at}", f", a écrit le {at}")
    return clean(f"{one.name}  <{one.account}>  {_STANCES[one.stance]}{since}")
