"""`miss-server why`."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from miss_server.cli.common import EXIT_USAGE, DatabaseOption, DomainOption, fail, settings
from miss_server.cli.looking import with_overview
from miss_server.relay.clock import SystemClock
from miss_server.storage.overview import Place, Trace
from miss_server.words import tr

HELP = tr(
    "Tell where a message is: for each device of its recipients, and what happens next.\n\n"
    "No content is told; the server has none. The id is what the app shows.\n\n"
    "Example: miss-server why 3f0c9a52d1e84b7f9a6c0d2e4b8f1a57",
    "Dire où est un message : pour chaque appareil de ses destinataires, et ce qui va suivre.\n\n"
    "Aucun contenu n'est montré ; le serveur n'en a pas. L'identifiant est celui de"
    " l'application.\n\n"
    "Exemple : miss-server why 3f0c9a52d1e84b7f9a6c0d2e4b8f1a57",
)


def why(
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE_ID",
            help=tr("32 hexadecimal digits, or base64.", "32 chiffres hexadécimaux, ou base64."),
        ),
    ],
    database: DatabaseOption = None,
    domain: DomainOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=tr("As JSON.", "En JSON."))] = False,
) -> None:
    """Tell where a message is."""
    chosen = settings(database=database, domain=domain)
    name = _id_of(message)
    now_ms = SystemClock().now_ms()
    found = with_overview(chosen, lambda overview: overview.trace(name, now_ms=now_ms))
    if as_json:
        typer.echo(json.dumps([_plain(trace) for trace in found], indent=2))
    elif found:
        for trace in found:
            for line in _lines(trace):
                typer.echo(line)
    if not found:
        fail(
            tr("no message of this id is known", "aucun message de cet identifiant n'est connu"),
            hint=tr(
                "It never came here, or seven days have passed since its last state, or a restore"
                " undid it: then its sender's app sends it again.",
                "Il n'est jamais arrivé ici, ou sept jours ont passé depuis son dernier état, ou une"
                " restauration l'a défait : l'application de l'expéditeur le renverra.",
            ),
        )


def _id_of(text: str) -> bytes:
    plain = text.strip().replace("-", "")
    try:
        if len(plain) == 32:
            return bytes.fromhex(plain)
    except ValueError:
        pass
    try:
        raw = base64.b64decode(text.strip() + "==", altchars=b"-_")
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        fail(
            tr(f"{text} is no message id", f"{text} n'est pas un identifiant de message"),
            hint=tr(
                "It has 32 hexadecimal digits, or 22 characters of base64.",
                "Il a 32 chiffres hexadécimaux, ou 22 caractères de base64.",
            ),
            status=EXIT_USAGE,
        )
    return raw


def _lines(trace: Trace) -> Iterator[str]:
    who = f"{trace.account} ({trace.device.hex()[:8]})"
    if trace.sent_ms is None:
        yield tr(
            f"From {who}: refused ({trace.outcome}). The sender was told; nothing was delivered.",
            f"De {who} : refusé ({trace.outcome}). L'expéditeur le sait ; rien n'a été remis.",
        )
        return
    kind = "" if trace.kind == "message" else tr(f", {trace.kind}", f", {trace.kind}")
    yield tr(
        f"From {who}, made durable {_when(trace.sent_ms)}, number {trace.sn}{kind}.",
        f"De {who}, enregistré le {_when(trace.sent_ms)}, numéro {trace.sn}{kind}.",
    )
    for place in trace.places:
        yield f"  {place.account or tr('a removed account', 'un compte supprimé')}" + (
            f" ({place.device.hex()[:8]}" + (tr(", own", ", à soi") if place.own else "") + ")"
        )
        for line in _about(place):
            yield f"    {line}"
    if trace.kind == "message":
        yield (
            tr(
                "  The sender's device knows all of this.",
                "  L'appareil de l'expéditeur sait tout cela.",
            )
            if trace.told
            else tr(
                "  The sender's device has not heard the last of this yet: it will when it connects.",
                "  L'appareil de l'expéditeur ne sait pas encore tout : il l'apprendra en se"
                " connectant.",
            )
        )
    if trace.kept_until_ms is not None:
        yield tr(
            f"  Nothing more will happen; forgotten here after {_when(trace.kept_until_ms)}.",
            f"  Plus rien n'arrivera ; oublié ici après le {_when(trace.kept_until_ms)}.",
        )


def _about(place: Place) -> Iterator[str]:
    at = _when(place.at_ms)
    until = _when(place.expires_ms) if place.expires_ms else "?"
    if place.silenced:
        yield tr(
            "kept from this device: its owner blocks the sender. Nobody but you is told",
            "tenu à l'écart de cet appareil : son titulaire bloque l'expéditeur. Vous seul le savez",
        )
        yield tr(
            f"next: to the sender it waits for a device that is off, and expires {until}",
            f"ensuite : pour l'expéditeur, il attend un appareil éteint et expire le {until}",
        )
        return
    if place.state == "waiting" and place.position is not None:
        yield tr(
            f"waits at position {place.position}, {place.ahead} before it",
            f"attend à la position {place.position}, {place.ahead} devant lui",
        )
        seen = _when(place.seen_ms) if place.seen_ms else tr("never", "jamais")
        yield tr(f"the device was last seen {seen}", f"appareil vu pour la dernière fois : {seen}")
        yield tr(
            f"next: delivered when it connects; else it expires {until}, and the sender is told",
            f"ensuite : remis à sa connexion ; sinon il expire le {until} et l'expéditeur le sait",
        )
        if place.dormant:
            yield tr(
                "not seen for 30 days: newer messages leave this device out",
                "pas vu depuis 30 jours : les nouveaux messages l'ignorent",
            )
        return
    known = _STATES.get(place.state)
    yield f"{known or place.state}, {at}"
    if place.signed:
        yield tr(
            "signed by the device: evidence, not only our word",
            "signé par l'appareil : une preuve, pas seulement notre parole",
        )


_STATES = {
    "waiting": tr(
        "acknowledged, its signed receipt has not come yet",
        "acquitté, le reçu signé n'est pas venu",
    ),
    "delivered": tr("delivered", "remis"),
    "read": tr("read", "lu"),
    "expired": tr("expired unread; the device sees a gap", "expiré ; l'appareil voit un manque"),
    "undecryptable": tr(
        "could not be opened; the sender's app encrypts it anew",
        "n'a pas pu être ouvert ; l'application de l'expéditeur le chiffre à nouveau",
    ),
    "refused": tr(
        "refused: this device's mailbox was full", "refusé : la boîte de l'appareil était pleine"
    ),
    "revoked": tr("the device was removed before", "l'appareil a été retiré avant"),
}


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(trace: Trace) -> dict[str, Any]:
    plain = asdict(trace)
    plain["device"] = trace.device.hex()
    for place in plain["places"]:
        place["device"] = place["device"].hex()
    return plain
