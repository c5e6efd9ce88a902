"""`miss status`: who this device is, and whether all is well."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from msgspec import UNSET

from miss_client import own_account
from miss_client.cli import identity
from miss_client.cli.common import WAITING, StoreOption, clean, out, with_client
from miss_client.client import Client
from miss_client.errors import RefusedByServer, Unreachable, explain
from miss_client.words import LANGUAGE, tr
from miss_protocol.api import ServerInfo

HELP = tr(
    "Show this device, its account and what waits; try the connection.\n\nExample: miss status",
    "Afficher cet appareil, son compte et ce qui attend ; essayer la connexion.\n\n"
    "Exemple : miss status",
)


def status(
    sign_charter: Annotated[
        bool,
        typer.Option(
            "--sign-charter",
            help=tr("Read and accept the present charter.", "Lire et accepter la charte actuelle."),
        ),
    ] = False,
    patience: Annotated[float, typer.Option(help=tr("Seconds to try.", "Secondes d'essai."))] = 5.0,
    store: StoreOption = None,
) -> None:
    """Show the state."""

    async def work(client: Client) -> None:
        if sign_charter:
            await _sign(client)
        info = client.vault.info
        own = client.contacts.own
        entry = own.find(client.vault.device)
        out.print(f"{clean(client.name)} <{client.account}>")
        out.print(
            tr("device: ", "appareil : ")
            + clean(entry.name if entry else info.device_name)
            + tr(f" (one of {len(own.entries)})", f" (parmi {len(own.entries)})")
        )
        await _notices(client)
        await identity.reminder(client)
        connected = True
        async with client:
            try:
                async with asyncio.timeout(patience):
                    await client.drained()
            except TimeoutError:
                connected = False
            state = tr("connected", "connecté") if connected else tr("no connection", "injoignable")
            out.print(tr("server: ", "serveur : ") + f"{info.server} ({state})")
            messages = client.messages()
            unread = sum(1 for one in messages if not one.own and not one.read_ms)
            waiting = sum(1 for one in messages if one.own and one.state == "queued")
        out.print(
            tr(
                f"unread: {unread}; waiting to leave: {waiting}",
                f"non lus : {unread} ; en attente d'envoi : {waiting}",
            )
        )
        if not connected:
            raise typer.Exit(WAITING)

    with_client(store, work)


KINDS = {
    "left": tr(
        "You are no longer in the directory.",
        "Vous n'êtes plus dans l'annuaire.",
    ),
    "unattested": tr(
        "Nobody vouches for you any more: ask a practitioner or your establishment.",
        "Plus personne ne vous atteste : adressez-vous à un praticien ou à votre établissement.",
    ),
}


async def _notices(client: Client) -> None:
    """What the account's user should do something about; an unreachable server is told below."""
    try:
        told = await own_account.told(client.calls)
    except Unreachable:
        return
    except RefusedByServer as refused:
        out.print(f"! {explain(refused, LANGUAGE)}")
        return
    if told is None:
        return
    if told.standing is not UNSET:
        since = datetime.fromtimestamp(told.standing.since / 1000, UTC).strftime("%Y-%m-%d")
        out.print(
            tr(
                f"! Since {since} you may write only to people who have answered you. Reason: ",
                f"! Depuis le {since}, vous ne pouvez écrire qu'à qui vous a répondu. Motif : ",
            )
            + clean(told.standing.reason)
        )
    for one in told.notices:
        day = datetime.fromtimestamp(one.due / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if one.kind == "recovery":
            what = tr(
                f"Somebody asks for new keys for your account, because every device is lost. On {day} "
                "this device will be out. If you did not ask for that: miss veto",
                "Quelqu'un demande de nouvelles clés pour votre compte, tous ses appareils étant "
                f"perdus. Le {day}, cet appareil en sera exclu. Si ce n'est pas vous : miss veto",
            )
        else:
            what = KINDS.get(one.kind, clean(one.kind)) + tr(
                f" Your account will be suspended on {day}. Ask your operator if that is wrong.",
                f" Votre compte sera suspendu le {day}. Si c'est une erreur, prévenez votre opérateur.",
            )
        out.print(f"! {what}")


async def _sign(client: Client) -> None:
    charter = (await client.calls.get_open("/v1/server", ServerInfo)).charter
    out.print(clean(charter.fr if LANGUAGE == "fr" else charter.en))
    if typer.confirm(tr("Do you accept this charter?", "Acceptez-vous cette charte ?")):
        out.print(tr("Signed: ", "Signée : ") + clean(await client.sign_charter()))
