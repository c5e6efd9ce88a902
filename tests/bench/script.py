"""What the connections of a run will say, encoded and signed before the time is taken.

The server gets what it would get from real devices and checks what it always checks; only the
generator is spared the signing, so that it can fill the server from the other core.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from miss_protocol import frames as f
from miss_protocol.identity.receipts import ReceiptState, sign_receipt
from miss_protocol.ids import MessageId
from tests.bench.machine import now_ms
from tests.bench.population import Peer
from tests.support.mailing import opaque_body, opaque_wrap

WRAP_BYTES = 300
"""As `crypto_cost` measures a steady wrap; the body is the smallest that is accepted."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass
class Script:
    """For each peer its sends in order with their message ids, and for each id the recipient's
    receipt; `pairs` are who writes to whom: `population.acquaint` them, unless strangers are what
    is measured."""

    sends: list[list[msgspec.Raw]] = field(default_factory=list)
    ids: list[list[bytes]] = field(default_factory=list)
    receipts: dict[bytes, msgspec.Raw] = field(default_factory=dict)
    pairs: set[tuple[Peer, Peer]] = field(default_factory=set)


def write(
    peers: Sequence[Peer],
    each: int,
    *,
    kind: f.Kind = "message",
    recipients: Sequence[Peer] | None = None,
    across: bool = False,
) -> Script:
    """`each` sends from every peer to others at random. `control` has no receipts or statuses, and
    `recipients` that are named are absent and sign none. With `across`, every second peer writes to
    the others only, as those that `connect_all` puts on another of two nodes."""
    chance = random.Random(1)
    script, body, wrap, at = Script(), opaque_body(), opaque_wrap(WRAP_BYTES), now_ms()
    halves = (peers[1::2], peers[::2]) if across else (peers, peers)
    for place, sender in enumerate(peers):
        own: list[msgspec.Raw] = []
        ids: list[bytes] = []
        for sn in range(1, each + 1):
            recipient = sender
            while recipient is sender:
                recipient = chance.choice(recipients or halves[place % 2])
            script.pairs.add((sender, recipient))
            message = os.urandom(16)
            own.append(encode_send(sn, message, at, body, wrap, sender, recipient, kind))
            ids.append(message)
            if kind == "message" and recipients is None:
                script.receipts[message] = encode_receipt(sender, recipient, message, at)
        script.sends.append(own)
        script.ids.append(ids)
    return script


def encode_send(
    sn: int,
    message: bytes,
    at: int,
    body: bytes,
    wrap: bytes,
    sender: Peer,
    recipient: Peer,
    kind: f.Kind = "message",
) -> msgspec.Raw:
    """A send to one device, ready to be said."""
    send = f.Send(
        sn, message, at, body, (f.DeviceWrap(recipient.device, wrap),),
        (f.RosterUsed(sender.account, 1), f.RosterUsed(recipient.account, 1)), kind,
    )  # fmt: skip
    return msgspec.Raw(_encode(send))


def encode_receipt(sender: Peer, recipient: Peer, message: bytes, at: int) -> msgspec.Raw:
    """The recipient's signed `delivered`, ready to ride with an `ack`."""
    receipt = sign_receipt(
        recipient.signing_key,
        message=MessageId(message),
        sender_device=sender.device,
        recipient_device=recipient.device,
        state=ReceiptState.DELIVERED,
        at_ms=at,
    )
    return msgspec.Raw(_encode(receipt))
