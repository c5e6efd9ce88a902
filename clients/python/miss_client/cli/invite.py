"""`miss invite` and `miss wishes`: people who are not on MiSS yet."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client.cli.common import StoreOption, ask_dates, clean, described, out, stop, with_client
from miss_client.client import Client
from miss_client.errors import RefusedByServer
from miss_client.words import tr
from miss_protocol.directory import Entry
from miss_protocol.errors import Code
from miss_protocol.invitations import Wish, Wishes

INVITE_HELP = tr(
    "Have a colleague invited who is not on MiSS, and be told when they join.\n\n"
    "They get one letter of your operator's with your name and profession; you add nothing to it.\n\n"
    "Example: miss invite lefevere despre",
    "Faire inviter un confrère qui n'est pas sur MiSS, et être prévenu de son arrivée.\n\n"
    "Votre opérateur lui écrit une lettre avec vos nom et profession ; vous n'y ajoutez rien.\n\n"
    "Exemple : miss invite lefevere despre",
)
WISHES_HELP = tr(
    "List whom you wait for and who has joined; wait for somebody, or no longer.\n\n"
    "Example: miss wishes --add 899000000010",
    "Lister ceux que vous attendez et ceux qui sont arrivés ; attendre quelqu'un, ou ne plus "
    "l'attendre.\n\nExemple : miss wishes --add 899000000010",
)


def invite(
    words: Annotated[
        list[str],
        typer.Argument(
            help=tr("Directory words, or an identifier.", "Des mots, ou un identifiant.")
        ),
    ],
    tell: Annotated[
        bool,
        typer.Option(help=tr("Be told when they join.", "Être prévenu de leur arrivée.")),
    ] = True,
    store: StoreOption = None,
) -> None:
    """Have somebody invited."""

    async def work(client: Client) -> None:
        await ask_dates(client)
        entry = await _one(client, " ".join(words))
        left = (await client.wishes.invite(entry.person)).left
        shown = described(entry)
        out.print(
            tr(
                f"Invited: {shown}. You may invite {left} more today.",
                f"Invitation demandée : {shown}. Encore {left} possibles aujourd'hui.",
            )
        )
        if tell:
            await client.wishes.wish(entry.person)

    with_client(store, work)


def wishes(
    add: Annotated[
        str,
        typer.Option(
            metavar="PERSON",
            help=tr("Wait for this person: an identifier.", "Attendre : un identifiant."),
        ),
    ] = "",
    withdraw: Annotated[
        str,
        typer.Option(
            metavar="PERSON", help=tr("Wait for this person no longer.", "Ne plus attendre.")
        ),
    ] = "",
    store: StoreOption = None,
) -> None:
    """List wishes, make one, or withdraw one."""

    async def work(client: Client) -> None:
        if withdraw:
            await client.wishes.withdraw(withdraw)
        if add:
            await client.wishes.wish(add)
        found = await client.wishes.all()
        _tell(found)
        if found.wishes:
            await ask_dates(client)

    with_client(store, work)


async def _one(client: Client, who: str) -> Entry:
    """The one entry that an identifier names, or words that fit nobody else who is not on MiSS."""
    if " " not in who and any(letter.isdigit() for letter in who):
        try:
            return await client.person(who)
        except RefusedByServer as refused:
            if refused.code is not Code.NOT_FOUND:
                raise  # else it may be a word: a postcode
    page = await client.search(who)
    found = [entry for entry in page.entries if entry.account is None]
    if len(found) == 1 and page.next is None:
        return found[0]
    for entry in found:
        out.print(f"{clean(entry.person)}  {described(entry)}")
    if found:
        stop(
            tr(
                "Several fit. Add a word, or use one of these identifiers.",
                "Plusieurs correspondent. Ajoutez un mot, ou prenez un de ces identifiants.",
            )
        )
    stop(
        tr(
            "Nobody fits who is not on MiSS. Try: miss search WORDS",
            "Personne hors de MiSS ne correspond. Essayez : miss search MOTS",
        )
    )


def _tell(found: Wishes) -> None:
    if not found.wishes:
        out.print(tr("You wait for nobody.", "Vous n'attendez personne."))
    for one in found.wishes:
        what = ", ".join(part for part in (one.name, one.profession) if part)
        out.print(clean(f"{one.person}  {what}  {_state(one)}"))


def _state(one: Wish) -> str:
    if one.account is not None:
        return tr(f"joined: {one.account}", f"sur MiSS : {one.account}")
    until = datetime.fromtimestamp(one.expires / 1000, UTC).date().isoformat()
    return tr(f"not yet (until {until})", f"pas encore (jusqu'au {until})")
