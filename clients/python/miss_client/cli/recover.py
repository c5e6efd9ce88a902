"""`miss recover` and `miss veto`: an account whose devices are all lost, and objecting to that."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client import own_account, recovery
from miss_client.cli.common import (
    WAITING,
    AcceptOption,
    NameOption,
    PassphraseOption,
    ServerOption,
    StoreOption,
    clean,
    device_name,
    err,
    out,
    run,
    stop,
    store_path,
    with_client,
)
from miss_client.cli.enrol import open_or_create, server_and_code, welcome
from miss_client.client import Client
from miss_client.words import LANGUAGE, tr
from miss_protocol.account import RecoveryPreview

HELP = tr(
    "Regain your account after losing every device, with the recovery code that your operator gave "
    "you. It takes some days, in which each of your old devices can object and your correspondents "
    "are told. Run the same command again to see how it stands.\n\n"
    "Example: miss recover ABCD-EFGH-JKMN --server https://miss.example.org",
    "Retrouver votre compte après la perte de tous vos appareils, avec le code de récupération remis "
    "par votre opérateur. Cela prend quelques jours : chacun de vos anciens appareils peut s'y "
    "opposer et vos correspondants sont avertis. Relancez la commande pour savoir où cela en est.\n\n"
    "Exemple : miss recover ABCD-EFGH-JKMN --server https://miss.example.org",
)
VETO_HELP = tr(
    "Object to a recovery of your account: you still have this device, and did not ask for it.\n\n"
    "Example: miss veto",
    "S'opposer à une récupération de votre compte : vous avez encore cet appareil et ne l'avez pas "
    "demandée.\n\nExemple : miss veto",
)


def recover(
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help=tr(
                "The code, or the link of your letter; asked for if left out.",
                "Le code, ou le lien de votre lettre ; demandé s'il manque.",
            ),
            show_default=False,
        ),
    ] = None,
    server: ServerOption = None,
    name: NameOption = "",
    accept: AcceptOption = False,
    use_passphrase: PassphraseOption = False,
    store: StoreOption = None,
) -> None:
    """Regain an account."""
    url, code = server_and_code(
        given or str(typer.prompt(tr("Code", "Code"), err=True)), server, "recover"
    )
    path = store_path(store)

    async def work() -> None:
        opened = open_or_create(path, use_passphrase)
        try:
            stands = await recovery.recover(
                url, code, opened, device_name=device_name(name), accept=accept or _confirm
            )
            if stands.client is not None:
                welcome(stands.client, path)
                await stands.client.close()
                return
        finally:
            opened.close()
        day = datetime.fromtimestamp(stands.due_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if stands.state == "waiting":
            err.print(
                tr(
                    f"It will be done on {day}. Then run this command again with the same store.",
                    f"Ce sera fait le {day}. Relancez alors cette commande avec le même fichier.",
                )
            )
            raise typer.Exit(WAITING)
        stop(
            tr(
                "The recovery was stopped by a device of the account, or by the operator. Ask them.",
                "La récupération a été arrêtée par un appareil du compte ou par l'opérateur. "
                "Contactez-le.",
            )
        )

    run(work)


def veto(
    yes: Annotated[bool, typer.Option("--yes", help=tr("Do not ask.", "Ne pas demander."))] = False,
    store: StoreOption = None,
) -> None:
    """Object to a recovery."""

    async def work(client: Client) -> None:
        question = tr(
            "Stop the recovery of your account?", "Arrêter la récupération de votre compte ?"
        )
        if not yes and not typer.confirm(question):
            stop(tr("Nothing was changed.", "Rien n'a été changé."))
        await own_account.veto_recovery(client.calls)
        out.print(
            tr(
                "Stopped. Tell your operator: somebody had a recovery code for your account.",
                "Arrêtée. Prévenez votre opérateur : quelqu'un avait un code pour votre compte.",
            )
        )

    with_client(store, work)


def _confirm(preview: RecoveryPreview) -> bool:
    shown = " · ".join(part for part in (preview.name, preview.profession) if part)
    hours = round(preview.delay / 3600)
    out.print(tr("This code recovers the account of: ", "Ce code récupère le compte de : "))
    out.print(clean(shown))
    charter = preview.charter
    out.print("\n" + clean(charter.fr if LANGUAGE == "fr" else charter.en) + "\n")
    return typer.confirm(
        tr(
            f"Is this you, are all your devices lost, and do you accept the charter? It takes "
            f"{hours} hours.",
            f"Est-ce vous, tous vos appareils sont-ils perdus, et acceptez-vous la charte ? Cela "
            f"prend {hours} heures.",
        )
    )
