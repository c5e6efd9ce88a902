"""`miss enrol`: this device's first step, as an account's first device or a further one."""

import os
from pathlib import Path
from typing import Annotated

import typer

from miss_client import new_device
from miss_client.cli import identity
from miss_client.cli.common import (
    AcceptOption,
    NameOption,
    PassphraseOption,
    StoreOption,
    clean,
    device_name,
    err,
    out,
    passphrase,
    run,
    show_code,
    stop,
    store_path,
)
from miss_client.client import Client
from miss_client.errors import ClientError, Trouble
from miss_client.store import Store, key_file_of
from miss_client.words import LANGUAGE, tr
from miss_protocol.api import EnrolmentPreview
from miss_protocol.errors import Malformed
from miss_protocol.identity.enrolment_link import Action, looks_like_link, read_link

HELP = tr(
    "Enrol this device with the code from your operator, or join your account from another "
    "device of yours.\n\n"
    "Examples:\n\n"
    "miss enrol ABCD-EFGH-JKMN --server https://miss.example.org\n\n"
    "miss enrol 'miss://enrol?server=...&code=...'   (the letter's link, or its QR code's text)\n\n"
    "miss enrol X4TBP-NGY2Q-QHHA-FZNH-XWK4-KL72 --join --server https://miss.example.org\n\n"
    "miss enrol --provider --server https://miss.example.org",
    "Inscrire cet appareil avec le code de votre opérateur, ou l'ajouter à votre compte depuis un "
    "autre de vos appareils.\n\n"
    "Exemples :\n\n"
    "miss enrol ABCD-EFGH-JKMN --server https://miss.example.org\n\n"
    "miss enrol 'miss://enrol?server=...&code=...'   (le lien de la lettre, ou le texte de son QR)\n\n"
    "miss enrol X4TBP-NGY2Q-QHHA-FZNH-XWK4-KL72 --join --server https://miss.example.org\n\n"
    "miss enrol --provider --server https://miss.example.org",
)


def enrol(
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help=tr(
                "The code, or the link of your letter. Left out, it is asked for: other users of this machine see what is "
                "typed here while the command runs.",
                "Le code, ou le lien de votre lettre. Sans lui, il est demandé : les autres utilisateurs de cette machine voient "
                "ce qui est tapé ici tant que la commande tourne.",
            ),
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="MISS_SERVER",
            help=tr(
                "The server's URL; a link names it itself.",
                "L'URL du serveur ; un lien la contient.",
            ),
            show_default=False,
        ),
    ] = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help=tr(
                "The code is an invitation: miss devices invite.",
                "Le code est une invitation : miss devices invite.",
            ),
        ),
    ] = False,
    provider: Annotated[
        bool,
        typer.Option(
            "--provider",
            help=tr(
                "Without a code: sign in at the national identity provider, or at one whose discovery "
                "address is in MISS_PROVIDERS.",
                "Sans code : se connecter au fournisseur d'identité national, ou à un autre dont "
                "l'adresse de découverte est dans MISS_PROVIDERS.",
            ),
        ),
    ] = False,
    ciba: Annotated[
        str | None,
        typer.Option(
            "--ciba",
            metavar=tr("NUMBER", "NUMÉRO"),
            help=tr(
                "Without a code: confirm in the provider's app; your national identifier.",
                "Sans code : confirmer dans l'application du fournisseur ; votre identifiant national.",
            ),
            show_default=False,
        ),
    ] = None,
    name: NameOption = "",
    accept: AcceptOption = False,
    use_passphrase: PassphraseOption = False,
    store: StoreOption = None,
) -> None:
    """Enrol this device."""
    signs_in = provider or ciba is not None
    if signs_in:
        server, code = server_and_code("", server, "enrol")
    else:
        server, code = server_and_code(
            given or str(typer.prompt(tr("Code", "Code"), err=True)), server, "enrol"
        )
    path = store_path(store)
    device = device_name(name)

    async def work() -> None:
        opened = open_or_create(path, use_passphrase)
        try:
            if signs_in:
                client = await identity.enrol(
                    server, opened, path, device, accept=accept or _confirm, ciba_person=ciba
                )
            elif join:
                client = await _join(server, code, opened, device)
            else:
                client = await new_device.enrol(
                    server, code, opened, device_name=device, accept_charter=accept or _confirm
                )
            welcome(client, path)
            await client.close()
        finally:
            # Whatever was begun is saved: the same command goes on with it.
            opened.close()

    run(work)


def server_and_code(given: str, server: str | None, action: Action) -> tuple[str, str]:
    """What was typed, scanned or pasted: a link, or a code whose server was named beside it."""
    if not looks_like_link(given):
        if server is None:
            stop(
                tr(
                    "Which server? Give it with --server https://…, or the whole link of your letter.",
                    "Quel serveur ? Indiquez --server https://…, ou tout le lien de votre lettre.",
                ),
                code=2,
            )
        return server, given
    try:
        link = read_link(given)
    except Malformed:
        link = None
    if link is None or link.action != action:
        stop(
            tr(
                "This link is not one of such a letter. Type the code and the server instead.",
                "Ce lien n'est pas celui d'une telle lettre. Saisissez le code et le serveur.",
            )
        )
    if server is not None and server.rstrip("/") != link.server:
        # A link from elsewhere must not lead away from the server that the user means.
        stop(
            tr(
                f"The link names another server: {link.server}. Ask your operator which one it is.",
                f"Le lien nomme un autre serveur : {link.server}. Demandez le bon à votre opérateur.",
            )
        )
    out.print(tr("Server: ", "Serveur : ") + link.server)
    return link.server, link.code


def open_or_create(path: Path, use_passphrase: bool) -> Store:
    """The store to enrol into: a new one, or one whose enrolment was cut short."""
    try:
        return Store.open(path, passphrase=passphrase(path))
    except ClientError as error:
        if error.trouble is not Trouble.STORE_MISSING:
            raise
    if use_passphrase:
        return Store.create(path, passphrase=_new_passphrase())
    return Store.create(path)


def _new_passphrase() -> str:
    given = os.environ.get("MISS_PASSPHRASE")
    if given:
        return given
    return str(
        typer.prompt(
            tr("New passphrase", "Nouvelle phrase de passe"),
            hide_input=True,
            confirmation_prompt=True,
            err=True,
        )
    )


def _confirm(preview: EnrolmentPreview) -> bool:
    if preview.name:
        out.print(
            tr("This code is for: ", "Ce code est celui de : ")
            + clean(" · ".join(part for part in (preview.name, preview.profession) if part))
        )
    charter = preview.charter
    out.print("\n" + clean(charter.fr if LANGUAGE == "fr" else charter.en) + "\n")
    if not preview.name:
        return typer.confirm(
            tr(
                f"Do you accept the charter (version {clean(charter.version)})?",
                f"Acceptez-vous la charte (version {clean(charter.version)}) ?",
            )
        )
    return typer.confirm(
        tr(
            f"Is this you, and do you accept the charter (version {clean(charter.version)})?",
            f"Est-ce vous, et acceptez-vous la charte (version {clean(charter.version)}) ?",
        )
    )


async def _join(server: str, code: str, store: Store, device: str) -> Client:
    try:
        joining = await new_device.join_account(server, code, store, device_name=device)
    except Malformed:
        stop(
            tr(
                "This is no invitation. Give the whole code that `miss devices invite` shows.",
                "Ce n'est pas une invitation. Donnez tout le code que `miss devices invite` montre.",
            )
        )
    approval = joining.approval_code
    show_code(approval)
    out.print(
        tr(
            f"Approval code: {approval}\n"
            f"On a device of your account, type: miss devices approve {approval}\nWaiting…",
            f"Code d'approbation : {approval}\n"
            f"Sur un appareil de votre compte : miss devices approve {approval}\nEn attente…",
        )
    )
    return await joining.approved()


def welcome(client: Client, path: Path) -> None:
    """What a new device's user is told."""
    out.print(tr("Enrolled: ", "Inscrit : ") + clean(client_name(client)))
    if key_file_of(path).exists():
        err.print(
            tr(
                f"Its keys are in {path}, which {key_file_of(path).name} beside it opens: keep both "
                "private, and out of backups.",
                f"Ses clés sont dans {path}, que {key_file_of(path).name} à côté ouvre : gardez les "
                "deux privés, et hors des sauvegardes.",
            )
        )
    out.print(tr("Next: miss search WORDS", "Ensuite : miss search MOTS"))


def client_name(client: Client) -> str:
    """Name and address of an account."""
    return f"{client.name} <{client.account}>"
