"""`miss admin`: an organisation's own people, for who is one of its administrators."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client import organisations
from miss_client.cli.common import (
    StoreOption,
    ask_dates,
    clean,
    described,
    out,
    show_code,
    stop,
    with_client,
)
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.directory import lacks_number
from miss_protocol.identity.enrolment_link import EnrolmentLink, write_link
from miss_protocol.organisations import OrganisationPerson

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Your establishment's people, if the operator named you its administrator: list, enrol, attest, "
        "end, end-code, devices, revoke, leave.\n\nExample: miss admin list",
        "Les personnes de votre établissement, si l'opérateur vous en a nommé administrateur : list, "
        "enrol, attest, end, end-code, devices, revoke, leave.\n\nExemple : miss admin list",
    ),
)

_Who = Annotated[
    str,
    typer.Argument(help=tr("Directory words, or an identifier.", "Des mots, ou un identifiant.")),
]
_Organisation = Annotated[
    str,
    typer.Option(
        "--organisation",
        help=tr(
            "Its identifier, if you act for several.", "Son identifiant, si vous en avez plusieurs."
        ),
    ),
]
_Yes = Annotated[bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander."))]

_STATES = {
    "uninvited": tr("no code waits", "pas de code en attente"),
    "invited": tr("code until ", "code jusqu'au "),
    "enrolled": tr("enrolled", "inscrit"),
    "ended": tr("ended", "terminé"),
}


@app.command(
    "list",
    help=tr(
        "List the organisations for which you act, or the people of one.\n\nExample: miss admin list",
        "Lister les organisations pour lesquelles vous agissez, ou les personnes de l'une d'elles.\n\n"
        "Exemple : miss admin list",
    ),
)
def listing(organisation: _Organisation = "", store: StoreOption = None) -> None:
    """List organisations and people."""

    async def work(client: Client) -> None:
        acts = await organisations.administered(client.calls)
        for one in acts:
            if organisation and one.organisation != organisation:
                continue
            left = tr(f"{one.left} codes left today", f"encore {one.left} codes aujourd'hui")
            out.print(clean(f"{one.organisation}  {one.name}  ({left})"))
            if organisation or len(acts) == 1:
                for person in await organisations.people(client.calls, one.organisation):
                    out.print(clean(f"    {person.person}  {person.name}  {_state(person)}"))
        if not acts:
            stop(_no_role())
        await ask_dates(client)

    with_client(store, work)


@app.command(
    "enrol",
    help=tr(
        "Make a code for one of your people, to be handed to this person only once you have seen who "
        "they are. Whoever holds it becomes this person for everybody.\n\n"
        "Example: miss admin enrol quesnimont anne",
        "Créer un code pour l'une de vos personnes, à ne remettre qu'à elle, après avoir vérifié qui "
        "elle est. Qui détient ce code devient cette personne pour tous.\n\n"
        "Exemple : miss admin enrol quesnimont anne",
    ),
)
def enrol(
    who: Annotated[
        list[str],
        typer.Argument(
            help=tr("Directory words, or an identifier.", "Des mots, ou un identifiant.")
        ),
    ],
    yes: _Yes = False,
    organisation: _Organisation = "",
    store: StoreOption = None,
) -> None:
    """Make a code."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, shown = await _one(client, " ".join(who))
        _ask(
            tr(
                f"Make a code for {shown}? An earlier one ends.",
                f"Créer un code pour {shown} ? Un code antérieur prend fin.",
            ),
            yes,
        )
        made = await organisations.issue(client.calls, acting, person)
        until = datetime.fromtimestamp(made.expires / 1000, UTC).date().isoformat()
        link = write_link(EnrolmentLink(client.vault.info.server, made.code))
        show_code(link)
        out.print(
            clean(f"{made.name} ({made.person})  {made.code}")
            + tr(f"  until {until}", f"  jusqu'au {until}")
        )
        out.print(link)

    with_client(store, work)


@app.command(
    "attest",
    help=tr(
        "Vouch again for somebody without a national number, whose access you had ended.\n\n"
        "Example: miss admin attest local.members.s-12",
        "Attester de nouveau une personne sans numéro national, dont l'accès avait pris fin.\n\n"
        "Exemple : miss admin attest local.membres.s-12",
    ),
)
def attest(who: _Who, organisation: _Organisation = "", store: StoreOption = None) -> None:
    """Vouch for somebody."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, shown = await _one(client, who)
        await organisations.attest(client.calls, acting, person)
        out.print(tr(f"Attested: {shown}", f"Attesté : {shown}"))

    with_client(store, work)


@app.command(
    "end",
    help=tr(
        "Have nothing to do with somebody any more. Who has no national number, and nobody else who "
        "vouches, loses access at once; a professional keeps the account.\n\n"
        "Example: miss admin end quesnimont",
        "Mettre fin au lien avec une personne. Sans numéro national ni autre attestation, elle perd "
        "aussitôt l'accès ; un professionnel garde son compte.\n\nExemple : miss admin end quesnimont",
    ),
)
def end(
    who: _Who, yes: _Yes = False, organisation: _Organisation = "", store: StoreOption = None
) -> None:
    """End a link."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, shown = await _one(client, who)
        _ask(tr(f"End it for {shown}, at once?", f"Mettre fin pour {shown}, aussitôt ?"), yes)
        await organisations.end(client.calls, acting, person)
        out.print(tr(f"Ended: {shown}", f"Terminé : {shown}"))

    with_client(store, work)


@app.command(
    "end-code",
    help=tr(
        "End a code that you issued and that was not used yet.\n\n"
        "Example: miss admin end-code quesnimont",
        "Annuler un code que vous avez créé et qui n'a pas servi.\n\n"
        "Exemple : miss admin end-code quesnimont",
    ),
)
def end_code(who: _Who, organisation: _Organisation = "", store: StoreOption = None) -> None:
    """End a code."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, shown = await _one(client, who)
        await organisations.end_codes(client.calls, acting, person)
        out.print(tr(f"No code waits for {shown}.", f"Aucun code n'attend {shown}."))

    with_client(store, work)


@app.command(
    "devices",
    help=tr(
        "List the devices of somebody for whom your organisation vouches.\n\n"
        "Example: miss admin devices quesnimont",
        "Lister les appareils d'une personne attestée par votre organisation.\n\n"
        "Exemple : miss admin devices quesnimont",
    ),
)
def devices(who: _Who, organisation: _Organisation = "", store: StoreOption = None) -> None:
    """List devices."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, _ = await _one(client, who)
        account = await _account(client, acting, person)
        for entry in await organisations.devices(client.calls, account):
            out.print(f"{entry.device.hex()[:8]}  {clean(entry.name)}")

    with_client(store, work)


@app.command(
    "revoke",
    help=tr(
        "End a device of somebody for whom your organisation alone vouches, by the beginning of its "
        "number: it was stolen, or kept. Its account goes on with the others.\n\n"
        "Example: miss admin revoke quesnimont 4f3a91c2",
        "Mettre fin à un appareil d'une personne que seule votre organisation atteste, par le début de "
        "son numéro : volé, ou non rendu. Le compte continue avec les autres.\n\n"
        "Exemple : miss admin revoke quesnimont 4f3a91c2",
    ),
)
def revoke(
    who: _Who,
    which: Annotated[
        str,
        typer.Argument(
            help=tr("The beginning of its number, or `all`.", "Le début de son numéro, ou `all`.")
        ),
    ],
    yes: _Yes = False,
    organisation: _Organisation = "",
    store: StoreOption = None,
) -> None:
    """End devices."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        person, shown = await _one(client, who)
        account = await _account(client, acting, person)
        found = [
            entry
            for entry in await organisations.devices(client.calls, account)
            if which == "all" or (len(which) >= 4 and entry.device.hex().startswith(which))
        ]
        if not found or (len(found) > 1 and which != "all"):
            stop(
                tr(
                    "No device, or several, of that number. See: miss admin devices WHO",
                    "Aucun appareil de ce numéro, ou plusieurs. Voir : miss admin devices QUI",
                )
            )
        names = ", ".join(clean(entry.name) for entry in found)
        _ask(
            tr(
                f"End {names} of {shown}, for ever?", f"Retirer {names} de {shown}, pour toujours ?"
            ),
            yes,
        )
        await organisations.end_devices(
            client.calls, acting, person, [entry.device for entry in found]
        )
        out.print(tr(f"Ended: {names}", f"Retiré : {names}"))

    with_client(store, work)


@app.command(
    "leave",
    help=tr(
        "Act for an organisation no more. Only the operator can name you again.\n\n"
        "Example: miss admin leave --organisation 1599900018",
        "Ne plus agir pour une organisation. Seul l'opérateur pourra vous nommer de nouveau.\n\n"
        "Exemple : miss admin leave --organisation 1599900018",
    ),
)
def leave(yes: _Yes = False, organisation: _Organisation = "", store: StoreOption = None) -> None:
    """Lay the role down."""

    async def work(client: Client) -> None:
        acting = await _acting(client, organisation)
        _ask(tr(f"Act for {acting} no more?", f"Ne plus agir pour {acting} ?"), yes)
        await organisations.leave(client.calls, acting)
        out.print(tr("You act for it no more.", "Vous n'agissez plus pour elle."))

    with_client(store, work)


async def _acting(client: Client, chosen: str) -> str:
    """The organisation that is meant: the one named, or the only one."""
    if chosen:
        return chosen
    acts = await organisations.administered(client.calls)
    if len(acts) == 1:
        return acts[0].organisation
    for one in acts:
        out.print(clean(f"{one.organisation}  {one.name}"))
    stop(
        tr(
            "You act for several: name one with --organisation.",
            "Vous agissez pour plusieurs : choisissez avec --organisation.",
        )
        if acts
        else _no_role()
    )


def _no_role() -> str:
    return tr(
        "You act for no organisation at present. The operator names its administrators.",
        "Vous n'agissez actuellement pour aucune organisation. L'opérateur en nomme les "
        "administrateurs.",
    )


async def _one(client: Client, who: str) -> tuple[str, str]:
    """The one person that words name, or an identifier, and how to show them."""
    await ask_dates(client)
    national = len(who) >= 9 and who.isalnum() and who[:1] in "08"
    if national or (lacks_number(who) and who.split() == [who]):
        return who, clean(who)
    page = await client.search(who)
    found = [entry for entry in page.entries if entry.kind == "person"]
    if len(found) == 1 and page.next is None:
        return found[0].person, described(found[0])
    for entry in found:
        out.print(f"{clean(entry.person)}  {described(entry)}")
    stop(
        tr(
            "Nobody fits, or several do. Use an identifier.",
            "Personne ne correspond, ou plusieurs. Prenez un identifiant.",
        )
    )


async def _account(client: Client, organisation: str, person: str) -> str:
    """The account of somebody for whom the organisation vouches."""
    for one in await organisations.people(client.calls, organisation):
        if one.person == person and one.account is not None:
            return one.account
    stop(
        tr(
            "Your organisation vouches for no such person with a device.",
            "Votre organisation n'atteste aucune telle personne avec un appareil.",
        )
    )


def _state(person: OrganisationPerson) -> str:
    told = _STATES[person.state]
    if person.expires is None:
        return told
    return told + datetime.fromtimestamp(person.expires / 1000, UTC).date().isoformat()


def _ask(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question):
        stop(tr("Nothing was changed.", "Rien n'a été changé."))
