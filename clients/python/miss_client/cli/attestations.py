"""`miss attest` and `miss attestations`: vouching for people without a national number."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client import own_account
from miss_client.cli.common import (
    StoreOption,
    ask_dates,
    clean,
    described,
    out,
    stop,
    with_client,
)
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.account import Attestations
from miss_protocol.directory import lacks_number

ATTEST_HELP = tr(
    "Vouch for somebody without a national number: a secretary, a care-home aide. They keep access "
    "for as long as somebody vouches for them, and everybody sees who does.\n\n"
    "Example: miss attest quesnimont",
    "Attester une personne sans numéro national : secrétaire, aide en EHPAD. Elle garde son accès "
    "tant que quelqu'un l'atteste, et chacun voit qui.\n\n"
    "Exemple : miss attest quesnimont",
)
LIST_HELP = tr(
    "List for whom you vouch, or vouch no more.\n\n"
    "Example: miss attestations --withdraw local.members.s-12",
    "Lister les personnes que vous attestez, ou cesser d'en attester une.\n\n"
    "Exemple : miss attestations --withdraw local.membres.s-12",
)


def attest(
    who: Annotated[
        str,
        typer.Argument(
            help=tr("Directory words, or an identifier.", "Des mots, ou un identifiant.")
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander."))] = False,
    store: StoreOption = None,
) -> None:
    """Vouch for a person."""

    async def work(client: Client) -> None:
        await ask_dates(client)
        person, shown = await _one(client, who)
        question = tr(
            f"Do you know {shown}, and do you vouch for them towards everybody?",
            f"Connaissez-vous {shown}, et en répondez-vous devant tous ?",
        )
        if not yes and not typer.confirm(question):
            stop(tr("Nothing was changed.", "Rien n'a été changé."))
        _tell(await own_account.attest(client.calls, person))

    with_client(store, work)


def attestations(
    withdraw: Annotated[
        str, typer.Option(help=tr("Vouch no more for this person.", "Cesser d'attester."))
    ] = "",
    store: StoreOption = None,
) -> None:
    """List attestations, or withdraw one."""

    async def work(client: Client) -> None:
        if withdraw:
            given = await own_account.withdraw(client.calls, withdraw)
        else:
            given = await own_account.attestations(client.calls)
        _tell(given)
        if given.attestations:
            await ask_dates(client)

    with_client(store, work)


async def _one(client: Client, who: str) -> tuple[str, str]:
    """The one person without a national number that words name, and how to show them."""
    if lacks_number(who) and who.split() == [who]:
        return who, clean(who)
    page = await client.search(who)
    found = [e for e in page.entries if e.kind == "person" and lacks_number(e.person)]
    if len(found) == 1 and page.next is None:
        return found[0].person, described(found[0])
    for entry in found:
        out.print(f"{clean(entry.person)}  {described(entry)}")
    stop(
        tr(
            "Nobody, or several, without a national number fit. Use an identifier.",
            "Personne, ou plusieurs, sans numéro national. Prenez un identifiant.",
        )
    )


def _tell(given: Attestations) -> None:
    for one in given.attestations:
        day = datetime.fromtimestamp(one.at / 1000, UTC).date().isoformat()
        out.print(clean(f"{one.person}  {one.name}  {day}"))
    many = len(given.attestations)
    out.print(tr(f"{many} of {given.most} attestations", f"{many} attestations sur {given.most}"))
