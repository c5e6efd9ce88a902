"""`miss status`: who this device is, and whether all is well."""

import asyncio
from typing import Annotated

import typer

from miss_client.cli import notices
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


async def _notices(client: Client) -> None:
    """What the account's user should do something about; an unreachable server is told below."""
    try:
        for notice in await client.notices.look():
            out.print(notices.text_of(notice))
    except Unreachable:
        return
    except RefusedByServer as refused:
        out.print(f"! {explain(refused, LANGUAGE)}")


async def _sign(client: Client) -> None:
    charter = (await client.calls.get_open("/v1/server", ServerInfo)).charter
    out.print(clean(charter.fr if LANGUAGE == "fr" else charter.en))
    if typer.confirm(tr("Do you accept this charter?", "Acceptez-vous cette charte ?")):
        out.print(tr("Signed: ", "Signée : ") + clean(await client.sign_charter()))
