"""`miss contacts`: whom this device knows, and how surely."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client.cli.common import StoreOption, ask_dates, clean, out, resolve, stop, with_client
from miss_client.client import Client
from miss_client.words import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "People you wrote with: list, verify, accept.\n\nExample: miss contacts list",
        "Vos correspondants : list, verify, accept.\n\nExemple : miss contacts list",
    ),
)

_Who = Annotated[
    str, typer.Argument(help=tr("An address, or directory words.", "Une adresse, ou des mots."))
]
_Yes = Annotated[bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander."))]


@app.command(
    "list",
    help=tr(
        "List the people you wrote with, and who vouches for their keys.\n\n"
        "Example: miss contacts list",
        "Lister vos correspondants, et qui répond de leurs clés.\n\nExemple : miss contacts list",
    ),
)
def listing(store: StoreOption = None) -> None:
    """List contacts."""

    async def work(client: Client) -> None:
        for one in client.contacts.all():
            if one.changed:
                state = tr("IDENTITY CHANGED", "IDENTITÉ CHANGÉE")
            elif one.verified:
                state = tr("verified by you", "vérifié par vous")
            elif one.attested == "provider":
                state = tr(
                    "vouched for by the identity provider", "attesté par le fournisseur d'identité"
                )
                if one.vouched is not None:
                    proven = datetime.fromtimestamp(one.vouched.issued_ms / 1000, UTC)
                    state += f" ({clean(one.vouched.name)}, {proven:%Y-%m-%d})"
            else:
                state = tr("vouched for by the operator", "attesté par l'opérateur")
            if one.enrolled_by:
                state += clean(
                    tr(
                        f"; enrolled by a code of {one.enrolled_by}",
                        f" ; inscrit avec un code de {one.enrolled_by}",
                    )
                )
            if one.attested_by:
                names = ", ".join(one.attested_by)
                state += clean(tr(f"; attested by {names}", f" ; attesté par {names}"))
            if one.recovering:
                day = datetime.fromtimestamp(one.recovering / 1000, UTC).strftime("%Y-%m-%d %H:%M")
                state += tr(
                    f"; RECOVERING until {day}: call before you write",
                    f" ; EN RÉCUPÉRATION jusqu'au {day} : appelez avant d'écrire",
                )
            out.print(f"{clean(one.name)}  <{one.address}>  {state}")
        if client.contacts.all():
            await ask_dates(client)

    with_client(store, work)


@app.command(
    "verify",
    help=tr(
        "Show the safety number to compare with the person, by voice or side by side.\n\n"
        "Example: miss contacts verify lefevere",
        "Afficher le numéro de sécurité à comparer avec la personne, de vive voix.\n\n"
        "Exemple : miss contacts verify lefevere",
    ),
)
def verify(who: _Who, yes: _Yes = False, store: StoreOption = None) -> None:
    """Verify a contact."""

    async def work(client: Client) -> None:
        address = await resolve(client, who)
        digits = (await client.safety_number(address)).split()
        out.print(f"{clean(client.contacts.name(address))} <{address}>")
        for row in range(0, len(digits), 4):
            out.print("  " + " ".join(digits[row : row + 4]))
        question = tr(
            "Does the other person see the same number?",
            "L'autre personne voit-elle le même numéro ?",
        )
        if not yes and not typer.confirm(question):
            stop(
                tr(
                    "Not marked as verified. If the numbers differ, tell your operator.",
                    "Non marqué comme vérifié. Si les numéros diffèrent, prévenez votre opérateur.",
                )
            )
        client.mark_verified(address)
        out.print(tr("Verified.", "Vérifié."))

    with_client(store, work)


@app.command(
    "confirm",
    help=tr(
        "The same as accept.\n\nExample: miss contacts confirm ADDRESS",
        "Comme accept.\n\nExemple : miss contacts confirm ADRESSE",
    ),
)
@app.command(
    "accept",
    help=tr(
        "Accept the new identity of a person who enrolled anew, after calling them.\n\n"
        "Example: miss contacts accept ADDRESS",
        "Accepter la nouvelle identité d'une personne réinscrite, après l'avoir appelée.\n\n"
        "Exemple : miss contacts accept ADRESSE",
    ),
)
def accept(who: _Who, yes: _Yes = False, store: StoreOption = None) -> None:
    """Accept a new identity."""

    async def work(client: Client) -> None:
        address = await resolve(client, who)
        name = clean(client.contacts.name(address))
        question = tr(
            f"Did you ask {name} in person or by phone, and did they enrol anew?",
            f"Avez-vous demandé à {name} de vive voix, et s'est-il réinscrit ?",
        )
        if not yes and not typer.confirm(question):
            stop(tr("Nothing was changed.", "Rien n'a été changé."))
        contact = client.contact(address)
        await client.accept_identity(address)
        if contact is None or not contact.changed:
            out.print(
                tr(
                    "Nothing to accept: no other identity was shown for this person.",
                    "Rien à accepter : aucune autre identité n'a été présentée pour cette personne.",
                )
            )
            return
        out.print(
            tr("Accepted. Compare the safety number next: ", "Accepté. Comparez ensuite : ")
            + f"miss contacts verify {address}"
        )

    with_client(store, work)
