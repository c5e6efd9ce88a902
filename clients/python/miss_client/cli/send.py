"""`miss send`: one message."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_client.cli import notices
from miss_client.cli.common import (
    FAILED,
    WAITING,
    StoreOption,
    clean,
    err,
    out,
    resolve,
    stop,
    with_client,
)
from miss_client.client import Client
from miss_client.errors import ClientError, RefusedByServer, Trouble
from miss_client.records import State
from miss_client.words import LANGUAGE, tr
from miss_protocol.errors import Code, code_of
from miss_protocol.ids import AccountAddress

HELP = tr(
    "Send a message to one person, named by address or by words of the directory.\n\n"
    'Example: miss send "cardio lille lefevere" "May I send you a patient this week?"',
    "Envoyer un message à une personne, nommée par son adresse ou par des mots de l'annuaire.\n\n"
    'Exemple : miss send "cardio lille lefevere" "Puis-je vous adresser une patiente ?"',
)

ASK_PATIENCE = 3.0
"""Seconds to ask the server about a recipient before a message is written."""
WAIT_FOR: dict[str, State] = {"sent": "sent", "delivered": "delivered", "read": "read"}
TICKS = {"queued": "…", "sent": "✓", "delivered": "✓✓", "read": "✓✓", "failed": "✗"}


def send(
    who: Annotated[
        str, typer.Argument(help=tr("An address, or directory words.", "Une adresse, ou des mots."))
    ],
    text: Annotated[str, typer.Argument(help=tr("What to say.", "Le texte."))],
    until: Annotated[
        str,
        typer.Option(
            help=tr(
                "Wait for this state: sent, delivered, read.",
                "Attendre cet état : sent, delivered, read.",
            )
        ),
    ] = "sent",
    patience: Annotated[
        float, typer.Option(help=tr("Seconds to wait at most.", "Secondes d'attente au plus."))
    ] = 15.0,
    urgent: Annotated[
        bool, typer.Option("--urgent", help=tr("Mark as urgent.", "Urgent."))
    ] = False,
    store: StoreOption = None,
) -> None:
    """Send a message."""
    if until not in WAIT_FOR:
        raise typer.BadParameter("sent, delivered, read", param_hint="--until")

    async def work(client: Client) -> None:
        address = await resolve(client, who)
        await warn_recovering(client, address)
        id = await client.send([address], text, urgency="urgent" if urgent else "normal")
        async with client:
            try:
                async with asyncio.timeout(patience):
                    await client.wait_for_state(id, WAIT_FOR[until])
            except TimeoutError:
                pass  # it is told below how far it is
            found = client.saved(id)
            if found.reason == Code.RESTRICTED.wire:
                await _tell_why(client)
            name = clean(client.contacts.name(address))
        if found.state == "failed":
            failed = tr(f"Not sent to {name}: ", f"Non envoyé à {name} : ")
            stop(failed + reason_text(found.reason), code=FAILED)
        out.print(f"{TICKS[found.state]} {state_text(found.state)} · {name}")
        if found.state == "queued":
            stop(
                tr(
                    "It is kept and leaves with the next command that connects: miss listen",
                    "Il est gardé et partira à la prochaine connexion : miss listen",
                ),
                code=WAITING,
            )

    with_client(store, work)


async def _tell_why(client: Client) -> None:
    """Print what the server says of the account, if it can be asked: that a message was refused is told
    all the same."""
    with suppress(ClientError, RefusedByServer, TimeoutError):
        async with asyncio.timeout(ASK_PATIENCE):
            for notice in await client.notices.look():
                err.print(notices.text_of(notice))


async def warn_recovering(client: Client, address: AccountAddress) -> None:
    """Tell, as far as the server can be asked, that this account is about to get other keys."""
    # What is wrong shows with the message itself, which does not wait for this.
    with suppress(ClientError, RefusedByServer, TimeoutError):
        async with asyncio.timeout(ASK_PATIENCE):
            await client.contacts.refresh(address)
    contact = client.contact(address)
    if contact is not None and contact.recovering:
        day = datetime.fromtimestamp(contact.recovering / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        name = clean(contact.name)
        err.print(
            tr(
                f"! {name} is recovering: says to have lost every device. What you write goes to the "
                f"old ones; until {day} they may object. Call them.",
                f"! {name} est en récupération : dit avoir perdu tous ses appareils. Vos messages "
                f"vont aux anciens ; jusqu'au {day} ils peuvent s'y opposer. Appelez.",
            )
        )


def state_text(state: str) -> str:
    """A state in words."""
    return {
        "queued": tr("waiting to leave", "en attente d'envoi"),
        "sent": tr("sent", "envoyé"),
        "delivered": tr("delivered", "remis"),
        "read": tr("read", "lu"),
        "failed": tr("failed", "échec"),
    }[state]


def reason_text(reason: str) -> str:
    """Why a message failed, in words."""
    code = code_of(reason)
    if code is not None:
        return code.text(LANGUAGE)
    for trouble in Trouble:
        if trouble.value.wire == reason:
            return trouble.text(LANGUAGE)
    return {
        "undecryptable": tr(
            "their device could not open it, even encrypted anew",
            "son appareil n'a pas pu l'ouvrir, même rechiffré",
        ),
        "revoked": tr("their device was removed", "son appareil a été retiré"),
        "refused": tr("their mailbox is full", "sa boîte est pleine"),
    }.get(reason, clean(reason))
