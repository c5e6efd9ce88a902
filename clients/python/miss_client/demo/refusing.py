"""Acts 6 and 7: what is refused and by which rule, and what the server's disk tells."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from miss_client.calls import Calls
from miss_client.demo.cast import Device
from miss_client.demo.meeting import Cast
from miss_client.demo.narrator import Narrator
from miss_client.demo.stage import Stage
from miss_client.demo.talking import ANSWER, FROM_NURSE, FROM_PHARMACIST, QUESTION
from miss_client.errors import ClientError, RefusedByServer, Trouble
from miss_client.events import Connection, ConnectionChanged, Unopened
from miss_client.words import tr
from miss_protocol import frames as f
from miss_protocol.api import PrekeyCount
from miss_protocol.errors import Code

ONCE_MORE = "Je vous envoie le compte rendu ce soir."
TO_REPLAY = "Merci de passer demain à 8 h."
RECEIVED = "Bien reçu, merci."

Reply = f.Sent | f.Refused | f.RetrySend


class Intruder:
    """A device whose owner does not keep to the rules: it signs whatever it is told to."""

    def __init__(self, device: Device, url: str) -> None:
        self._calls = Calls(url, device.client.vault)
        self._vault = device.client.vault
        self._sn = self._vault.cursor.sn

    async def send(self, template: f.Send, **changes: object) -> Reply:
        """Send something of its own making, correctly numbered and signed."""
        self._sn += 1
        new = {"sn": self._sn, "id": os.urandom(16), "at": self._vault.clock()}
        frame = msgspec.structs.replace(template, **(new | changes))
        return await self._calls.post("/v1/messages", frame, Reply)  # type: ignore[arg-type]  # a union is a type form

    async def close(self) -> None:
        await self._calls.close()


async def lose_a_reply(narrator: Narrator, cast: Cast) -> None:
    """The reply to a send is lost: the client repeats it, and there is still one message."""
    cast.line.drop_next_reply()
    id = await cast.gp.client.send([cast.phone.account], ONCE_MORE)
    await cast.phone.message(id)
    await cast.gp.becomes(id, "delivered")
    narrator.check(
        cast.line.dropped > 0 and cast.phone.shown(id) == 1,
        tr(
            "a reply was lost and the send repeated: one message (spec 03 §4: its serial number)",
            "une réponse perdue, l'envoi répété : un seul message (spec 03 §4 : numéro d'envoi)",
        ),
    )


async def revoke(narrator: Narrator, stage: Stage, cast: Cast) -> None:
    """The tablet is taken off the account."""
    lost = cast.tablet.client
    await cast.phone.client.revoke_device(lost.vault.device)
    await cast.tablet.event(
        lambda e: isinstance(e, ConnectionChanged) and e.state is Connection.STOPPED
    )
    over: Trouble | None = None
    try:
        await lost.connected()
    except ClientError as error:
        over = error.trouble
    narrator.check(
        over is Trouble.DEVICE_OVER,
        tr(
            "the revoked tablet is put out at once (close code 4503, spec 06)",
            "la tablette révoquée est aussitôt déconnectée (code 4503, spec 06)",
        ),
    )
    calls = Calls(stage.url, lost.vault)
    code: Code | None = None
    try:
        await calls.get("/v1/prekeys", PrekeyCount)
    except RefusedByServer as refused:
        code = refused.code
    finally:
        await calls.close()
    narrator.check(
        code is Code.REVOKED,
        tr("… and its signed requests are refused: revoked", "… et ses requêtes sont refusées"),
    )


async def misbehave(narrator: Narrator, stage: Stage, cast: Cast) -> None:
    """A replayed frame, a tampered ciphertext, an unencrypted body."""
    await cast.phone.close()
    id = await cast.nurse.client.send([cast.phone.account], TO_REPLAY)
    await cast.nurse.becomes(id, "sent")
    captured = msgspec.msgpack.decode(cast.nurse.client.vault.entries()[-1].frame, type=f.Send)
    await cast.phone.open()
    await cast.phone.message(id)
    await cast.nurse.becomes(id, "delivered")
    # Until somebody answered, only two messages are let through (spec 08 §1).
    answered = await cast.phone.client.send([cast.nurse.account], RECEIVED)
    await cast.nurse.message(answered)
    intruder = Intruder(cast.nurse, stage.url)
    await cast.nurse.leave()
    try:
        unopened = _count(cast.phone)
        await intruder.send(captured)
        await cast.phone.event(lambda _: _count(cast.phone) == unopened + 1)
        narrator.check(
            cast.phone.shown(id) == 1,
            tr(
                "a replayed frame is not opened twice (spec 04: a message key serves once)",
                "une trame rejouée ne s'ouvre pas deux fois (spec 04 : une clé par message)",
            ),
        )
        flipped = bytes([captured.body[60] ^ 1])
        await intruder.send(captured, body=captured.body[:60] + flipped + captured.body[61:])
        await cast.phone.event(lambda _: _count(cast.phone) == unopened + 2)
        narrator.check(
            True,
            tr(
                "a tampered ciphertext is refused by the phone (spec 04: authenticated encryption)",
                "un chiffré altéré est refusé par le téléphone (spec 04 : chiffrement authentifié)",
            ),
        )
        plain = await intruder.send(captured, body=TO_REPLAY.encode())
        narrator.check(
            isinstance(plain, f.Refused) and plain.code == Code.NOT_ENCRYPTED.wire,
            tr(
                "an unencrypted body is refused by the server: not_encrypted (spec 04 §3)",
                "un corps en clair est refusé par le serveur : not_encrypted (spec 04 §3)",
            ),
        )
    finally:
        await intruder.close()


def _count(device: Device) -> int:
    return sum(1 for event in device.events if isinstance(event, Unopened))


async def refuse(narrator: Narrator, stage: Stage, cast: Cast) -> None:
    """Act 6."""
    with narrator.act(6, tr("What must not happen", "Ce qui ne doit pas arriver")):
        await lose_a_reply(narrator, cast)
        await revoke(narrator, stage, cast)
        await misbehave(narrator, stage, cast)


def search_disk(narrator: Narrator, stage: Stage, cast: Cast) -> None:
    """Act 7: the server's database and log hold no plaintext and no private key."""
    title = tr("What the server's disk tells", "Ce que dit le disque du serveur")
    with narrator.act(7, title):
        files = sorted(path for path in stage.database.parent.iterdir() if path.is_file())
        haystack = b"".join(path.read_bytes() for path in files)
        narrator.check(
            cast.gp.account.encode() in haystack,
            tr(
                f"{len(files)} files, {len(haystack) // 1024} KB: the GP's address is found, "
                "so the search works",
                f"{len(files)} fichiers, {len(haystack) // 1024} Ko : l'adresse de la généraliste "
                "s'y trouve, donc la recherche fonctionne",
            ),
        )
        texts = (QUESTION, ANSWER, FROM_NURSE, FROM_PHARMACIST, ONCE_MORE, TO_REPLAY)
        narrator.check(
            not any(form in haystack for text in texts for form in _forms(text.encode())),
            tr(f"{len(texts)} texts: none found", f"{len(texts)} textes : aucun trouvé"),
        )
        keys = [bytes(device.client.vault.signing_key) for device in cast.devices()]
        narrator.check(
            not any(form in haystack for key in keys for form in _forms(key)),
            tr(f"{len(keys)} private keys: none found", f"{len(keys)} clés privées : aucune"),
        )
        narrator.check(
            not any(_holds(device.path, texts) for device in cast.devices()),
            tr(
                "the phones' stores hold no text in clear either",
                "les téléphones ne gardent rien en clair non plus",
            ),
        )


def _holds(path: Path, texts: tuple[str, ...]) -> bool:
    stored = b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*"))
    return any(form in stored for text in texts for form in _forms(text.encode()))


def _forms(secret: bytes) -> Iterator[bytes]:
    """The ways in which something could have been written down."""
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")[:-1]
    try:
        yield secret.decode().encode("utf-16-le")
    except UnicodeDecodeError:
        return
