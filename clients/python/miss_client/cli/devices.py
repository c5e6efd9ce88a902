"""`miss devices`: the devices of one's own account."""

from typing import Annotated

import typer

from miss_client.cli.common import StoreOption, clean, out, show_code, stop, with_client
from miss_client.client import Client
from miss_client.words import tr
from miss_protocol.errors import Malformed
from miss_protocol.identity import link
from miss_protocol.ids import DeviceId

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Your devices: list, invite, approve, revoke.\n\nExample: miss devices list",
        "Vos appareils : list, invite, approve, revoke.\n\nExemple : miss devices list",
    ),
)


@app.command(
    "list",
    help=tr(
        "List your devices and those that ask to join.\n\nExample: miss devices list",
        "Lister vos appareils et ceux qui demandent à rejoindre.\n\nExemple : miss devices list",
    ),
)
def listing(store: StoreOption = None) -> None:
    """List devices."""

    async def work(client: Client) -> None:
        await client.contacts.refresh(client.account)
        for entry in client.own_devices():
            mine = tr("this device", "cet appareil") if entry.device == client.vault.device else ""
            right = tr("may approve", "peut approuver") if entry.approve else ""
            out.print(f"{entry.device.hex()[:8]}  {clean(entry.name)}  {mine}  {right}".rstrip())
        for pending in await client.pending_devices():
            out.print(
                tr("asks to join: ", "demande à rejoindre : ")
                + clean(pending.name)
                + tr(
                    "  (miss devices approve CODE, with the code on its screen)",
                    "  (miss devices approve CODE, avec le code de son écran)",
                )
            )

    with_client(store, work)


@app.command(
    "invite",
    help=tr(
        "Make an invitation for a new device of yours.\n\nExample: miss devices invite",
        "Créer une invitation pour un nouvel appareil à vous.\n\nExemple : miss devices invite",
    ),
)
def invite(store: StoreOption = None) -> None:
    """Invite a device."""

    async def work(client: Client) -> None:
        made = await client.invite_device()
        server = client.vault.info.server
        show_code(f"{server} {made.code}")
        out.print(
            tr("On the new device: ", "Sur le nouvel appareil : ")
            + f"miss enrol {made.code} --join --server {server}"
        )
        out.print(
            tr(
                "It shows a code. Then, here: miss devices approve CODE",
                "Il affiche un code. Ensuite, ici : miss devices approve CODE",
            )
        )

    with_client(store, work)


@app.command(
    "approve",
    help=tr(
        "Let in the new device whose screen shows this code.\n\n"
        "Example: miss devices approve ABCD-EFGH-IJKL-MNOP",
        "Accepter le nouvel appareil dont l'écran montre ce code.\n\n"
        "Exemple : miss devices approve ABCD-EFGH-IJKL-MNOP",
    ),
)
def approve(
    code: Annotated[
        str,
        typer.Argument(help=tr("The code on the new device's screen.", "Le code de son écran.")),
    ],
    store: StoreOption = None,
) -> None:
    """Approve a device."""

    async def work(client: Client) -> None:
        try:
            wanted = link.read_code(code)
        except Malformed:
            stop(
                tr(
                    "This is not an approval code. The new device shows sixteen letters and digits, "
                    "like ABCD-EFGH-IJKL-MNOP: type them all.",
                    "Ce n'est pas un code d'approbation. Le nouvel appareil affiche seize lettres et "
                    "chiffres, comme ABCD-EFGH-IJKL-MNOP : saisissez-les tous.",
                )
            )
        entry = await client.approve_device(wanted)
        out.print(tr("Approved: ", "Approuvé : ") + clean(entry.name))

    with_client(store, work)


@app.command(
    "revoke",
    help=tr(
        "Remove a device for ever, by its name or the beginning of its number.\n\n"
        "Example: miss devices revoke tablet",
        "Retirer un appareil pour toujours, par son nom ou le début de son numéro.\n\n"
        "Exemple : miss devices revoke tablette",
    ),
)
def revoke(
    which: Annotated[str, typer.Argument(help=tr("Name or number.", "Nom ou numéro."))],
    yes: Annotated[bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander."))] = False,
    store: StoreOption = None,
) -> None:
    """Revoke a device."""

    async def work(client: Client) -> None:
        await client.contacts.refresh(client.account)
        found = [
            entry
            for entry in client.own_devices()
            if entry.name == which or (len(which) >= 4 and entry.device.hex().startswith(which))
        ]
        if len(found) != 1:
            stop(
                tr(
                    "No device, or several, of that name. Use its number: miss devices list",
                    "Aucun appareil de ce nom, ou plusieurs. Prenez son numéro : miss devices list",
                )
            )
        name = clean(found[0].name)
        question = tr(f"Remove {name} for ever?", f"Retirer {name} pour toujours ?")
        if not yes and not typer.confirm(question):
            stop(tr("Nothing was changed.", "Rien n'a été changé."))
        await client.revoke_device(DeviceId(found[0].device))
        out.print(tr("Removed: ", "Retiré : ") + name)

    with_client(store, work)
