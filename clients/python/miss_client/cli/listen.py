"""`miss listen`: what arrives, and what becomes of what was sent."""

from datetime import datetime
from typing import Annotated

import typer

from miss_client.cli import notices
from miss_client.cli.common import StoreOption, clean, err, indented, out, with_client
from miss_client.cli.send import TICKS, reason_text, state_text
from miss_client.client import Client
from miss_client.events import (
    AccountEnding,
    AccountRestricted,
    CharterChanged,
    Connection,
    ConnectionChanged,
    DeviceChanged,
    DevicesEnded,
    Distrusted,
    EncryptedAgain,
    Event,
    GapSeen,
    HoleSeen,
    IdentityChanged,
    Joined,
    MessageReceived,
    ProofDue,
    Restored,
    StatusChanged,
    Unopened,
    WasDormant,
)
from miss_client.records import Message
from miss_client.words import tr
from miss_protocol import limits
from miss_protocol.ids import MessageId

HELP = tr(
    "Stay connected and show messages as they come, until Ctrl-C.\n\nExample: miss listen --read",
    "Rester connecté et afficher les messages à leur arrivée, jusqu'à Ctrl-C.\n\n"
    "Exemple : miss listen --read",
)


def listen(
    read: Annotated[
        bool,
        typer.Option(
            "--read",
            help=tr("Tell senders that you read them.", "Accuser lecture aux expéditeurs."),
        ),
    ] = False,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help=tr("Fetch what waits and end.", "Relever ce qui attend et finir.")
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Show what arrives."""

    async def work(client: Client) -> None:
        for message in client.messages():
            if not message.own and not message.read_ms:
                await _show(client, message, read)
        if once:
            known = {(one.device, one.id) for one in client.messages()}
            await client.fetch_once()
            for notice in await client.notices.look():
                out.print(notices.text_of(notice))
            for message in client.messages():
                if (message.device, message.id) not in known and not message.own:
                    await _show(client, message, read)
            return
        events = client.events()
        async with client:
            async for event in events:
                if isinstance(event, MessageReceived):
                    if event.first:
                        out.print(_of_somebody_new(event))
                    await _show(client, client.saved(event.id), read)
                    continue
                line = told(client, event)
                if line:
                    out.print(line)
                if isinstance(event, ConnectionChanged) and event.state is Connection.STOPPED:
                    await client.connected()  # raises what stopped it

    with_client(store, work)


async def _show(client: Client, message: Message, read: bool) -> None:
    out.print(line_of(client, message))
    if read and not message.own:
        await client.read(MessageId(message.id))


def _of_somebody_new(event: MessageReceived) -> str:
    name, address = clean(event.sender_name), event.sender
    return tr(
        f"· {name} writes to you for the first time: miss accept, decline or block {address}; "
        "miss report shows a message to the operator",
        f"· {name} vous écrit pour la première fois : miss accept, decline ou block {address} ; "
        "miss report montre un message à l'opérateur",
    )


def line_of(client: Client, message: Message) -> str:
    """A message in one line (and its own line breaks)."""
    at = datetime.fromtimestamp(shown_ms(message) / 1000).astimezone().strftime("%d/%m %H:%M")
    if message.account == client.account:
        names = ", ".join(client.contacts.name(one) for one in message.to)
        who = tr(f"you to {names}", f"vous à {names}")
    else:
        who = client.contacts.name(message.account)
    text = message.text or f"[{message.kind}]"
    return indented(clean(f"{at}  {who}: {text}"))


def shown_ms(message: Message) -> int:
    """When a message was written, as far as its sender's clock can be believed; else when it came.

    A sender signs any 64-bit number, and no honest message is older than its longest life.
    """
    oldest = message.saved_ms - (limits.TTL_MAX + limits.CLOCK_SKEW_MAX) * 1000
    newest = message.saved_ms + limits.CLOCK_SKEW_MAX * 1000
    return message.sent_ms if oldest <= message.sent_ms <= newest else message.saved_ms


def told(client: Client, event: Event) -> str:
    """An event in words; empty for what needs none."""
    match event:
        case StatusChanged():
            text = clean(client.saved(event.id).text[:40])
            reason = f" ({reason_text(event.reason)})" if event.reason else ""
            return f"{TICKS[event.state]} {state_text(event.state)}{reason} · {text}"
        case GapSeen():
            return tr(
                f"! {event.count} message(s) for you are gone ({event.reason}): ask your "
                "correspondents to write again",
                f"! {event.count} message(s) pour vous sont perdus ({event.reason}) : demandez à "
                "vos correspondants de récrire",
            )
        case HoleSeen():
            name = clean(client.contacts.name(event.sender))
            return tr(
                f"! messages of {name} did not arrive in full order ({event.missing} missing)",
                f"! des messages de {name} ne sont pas tous arrivés ({event.missing} manquant(s))",
            )
        case Unopened():
            name = clean(client.contacts.name(event.sender))
            return tr(
                f"! a message of {name} could not be opened; their device was told",
                f"! un message de {name} n'a pas pu être ouvert ; son appareil est prévenu",
            )
        case IdentityChanged():
            return tr(
                f"! the identity of {clean(event.name)} changed: call them, then miss contacts "
                f"accept {event.account}",
                f"! l'identité de {clean(event.name)} a changé : appelez-le, puis miss contacts "
                f"accept {event.account}",
            )
        case Distrusted():
            return tr(
                f"! something from the server did not verify ({event.what}): tell your operator",
                f"! une donnée du serveur n'est pas valable ({event.what}) : prévenez votre "
                "opérateur",
            )
        case Restored():
            return tr(
                f"! the server was restored from a backup; {event.again} message(s) are sent again",
                f"! le serveur a été restauré ; {event.again} message(s) renvoyés",
            )
        case WasDormant():
            return tr(
                "! this device was away for over 30 days: messages passed it by",
                "! cet appareil a été absent plus de 30 jours : des messages ne lui sont pas parvenus",
            )
        case CharterChanged():
            return tr(
                f"! the charter has a new version ({clean(event.version)}): miss status --sign-charter",
                f"! la charte a une nouvelle version ({clean(event.version)}) : "
                "miss status --sign-charter",
            )
        case Joined():
            name, address = clean(event.name), clean(event.account)
            return tr(
                f"· {name} is on MiSS now: miss send {address}",
                f"· {name} est maintenant sur MiSS : miss send {address}",
            )
        case AccountEnding() | AccountRestricted() | DevicesEnded() | ProofDue():
            return notices.text_of(event)
        case EncryptedAgain():
            return tr("… encrypted anew", "… rechiffré") + f" ({event.reason})"
        case DeviceChanged():
            whose = clean(client.contacts.name(event.account))
            return tr(
                f"· devices of {whose}: version {event.version}",
                f"· appareils de {whose} : version {event.version}",
            )
        case ConnectionChanged():
            _connection(event)
    return ""


def _connection(event: ConnectionChanged) -> None:
    text = {
        Connection.LIVE: tr("connected", "connecté"),
        Connection.WAITING: tr(
            f"no connection; next try in {event.retry_in:.0f} s",
            f"pas de connexion ; nouvel essai dans {event.retry_in:.0f} s",
        ),
    }.get(event.state)
    if text:
        err.print(f"({text})")
