"""Record handshakes and wraps with the receiver's private state, stage by stage."""

import hashlib
import os
from typing import Any

from miss_protocol.content import Text
from miss_protocol.crypto import envelope, hybrid, secretbox
from miss_protocol.crypto.chain import Chain, derive
from miss_protocol.crypto.endpoint import Endpoint, Outgoing, Recipient, Sealed
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import new_address

NOW = 1_790_000_000_000
STAGES = (
    "Each stage is given, so that an implementation can find where it differs: handshake_info, "
    "session, root, chain keys, message key, Olm message, inner message. `state` is the receiver's "
    "saved state before the first frame: `olm` and `session/...` hold vodozemac pickles behind "
    "their pickle keys, `prekey/...` the X-Wing seed."
)


class Recorder:
    """Alice's and Bruno's phones; what Bruno receives is recorded."""

    def __init__(self) -> None:
        self.alice, self.bruno = (
            Endpoint.create(
                new_address(hashlib.md5(name, usedforsecurity=False).digest(), "m.example"),
                now_ms=NOW,
                random=os.urandom,
            )
            for name in (b"alice", b"bruno")
        )
        self.recipients = [
            Recipient(device.certificate.account, 1, b"\1" * 32)
            for device in (self.alice, self.bruno)
        ]
        self.state: dict[str, bytes] = {}

    def save(self) -> dict[str, bytes]:
        """Bruno's state now."""
        for name, item in self.bruno.take_changes().items():
            if item is None:
                self.state.pop(name, None)
            else:
                self.state[name] = item
        return dict(self.state)

    def write(self, sender: Endpoint, receiver: Endpoint, text: str) -> Sealed:
        """A message to the other."""
        outgoing = Outgoing(b"a conversation 1", Text(text=text), self.recipients)
        return sender.seal(outgoing, [receiver.certificate], now_ms=NOW)

    def to_bruno(self, text: str) -> tuple[Sealed, bytes]:
        """A message to Bruno, and his wrap."""
        sealed = self.write(self.alice, self.bruno, text)
        return sealed, sealed.wraps[self.bruno.certificate.device]


def handshake_vectors() -> dict[str, Any]:
    """A first message over a one-time prekey, and one over a last resort."""
    return {
        "stages": STAGES,
        "valid": [_handshake(last_resort=False), _handshake(last_resort=True)],
    }


def _handshake(*, last_resort: bool) -> dict[str, Any]:
    made = Recorder()
    prekey = (
        made.bruno.new_last_resort(now_ms=NOW)
        if last_resort
        else made.bruno.new_prekeys(1, now_ms=NOW)[0]
    )
    state = made.save()
    made.alice.start_session(made.bruno.certificate, prekey, now_ms=NOW)
    sealed, wrap = made.to_bruno("une première question")
    seed = made.bruno._keyring._prekeys[prekey.id].seed
    stages = opening_stages(made.alice.certificate, made.bruno.certificate, prekey, seed, wrap)
    made.bruno.open(made.alice.certificate, sealed.body, wrap, now_ms=NOW)
    return {
        "state": state,
        "sender": made.alice.certificate.encode(),
        "receiver": made.bruno.certificate.encode(),
        "prekey": prekey.encode(),
        "xwing_seed": seed,
        **stages,
        "body": sealed.body,
        "wrap": wrap,
        "inner": sealed.message.encode(),
        "text": "une première question",
    }


def opening_stages(
    sender: DeviceCertificate,
    receiver: DeviceCertificate,
    prekey: SignedPrekey,
    seed: bytes,
    wrap: bytes,
) -> dict[str, Any]:
    """Every value between a first wrap and its Olm message."""
    frame = envelope.read(wrap)
    sealed_root = wrap[22 + 8 + 32 : 22 + 1208]
    info = envelope.handshake_info(sender.id, receiver.id, prekey.id, prekey.otk)
    root = hybrid.open_root(sealed_root, seed, info)
    chain = Chain(derive(root, b"MiSS/1 i2r"))
    key, after = chain.take(frame.number)
    return {
        "handshake_info": info,
        "session": frame.session,
        "root": root,
        "chain_key_i2r": chain.key,
        "chain_key_r2i": derive(root, b"MiSS/1 r2i"),
        "message_key": key,
        "next_chain_key": after.key,
        "olm_message": secretbox.unseal(key, frame.sealed, frame.header),
    }


def wrap_vectors() -> dict[str, Any]:
    """Frames of an answered session, in order, with a gap, late; and some that are refused."""
    made = Recorder()
    (prekey,) = made.bruno.new_prekeys(1, now_ms=NOW)
    made.alice.start_session(made.bruno.certificate, prekey, now_ms=NOW)
    first, wrap = made.to_bruno("début")
    made.bruno.open(made.alice.certificate, first.body, wrap, now_ms=NOW)
    answer = made.write(made.bruno, made.alice, "réponse")
    made.alice.open(
        made.bruno.certificate,
        answer.body,
        answer.wraps[made.alice.certificate.device],
        now_ms=NOW,
    )
    state = made.save()
    sent = [made.to_bruno(f"message {number}") for number in range(5)]
    steps = []
    for number in (0, 3, 1, 4):
        sealed, wrap = sent[number]
        steps.append(_step(made, sealed, wrap, f"message {number}"))
    sealed, wrap = sent[2]
    return {
        "stages": STAGES,
        "state": state,
        "sender": made.alice.certificate.encode(),
        "receiver": made.bruno.certificate.encode(),
        "valid": steps,
        "invalid": [
            {"why": why, "body": body, "wrap": altered}
            for why, body, altered in (
                ("a frame again", sent[4][0].body, sent[4][1]),
                ("another suite", sealed.body, b"\2" + wrap[1:]),
                ("another kind", sealed.body, wrap[:1] + b"\0" + wrap[2:]),
                ("another session", sealed.body, wrap[:2] + bytes(16) + wrap[18:]),
                ("a number far ahead", sealed.body, wrap[:18] + b"\xff" * 4 + wrap[22:]),
                ("a flipped bit", sealed.body, wrap[:-1] + bytes([wrap[-1] ^ 1])),
                ("another body", sent[0][0].body, wrap),
            )
        ],
    }


def _step(made: Recorder, sealed: Sealed, wrap: bytes, text: str) -> dict[str, Any]:
    frame = envelope.read(wrap)
    peer = made.bruno._peers.find(made.alice.certificate)
    if peer is None:
        raise LookupError("the session was made above")
    key, _ = peer.sessions[frame.session].receiving.take(frame.number)
    message = secretbox.unseal(key, frame.sealed, frame.header)
    opened = made.bruno.open(made.alice.certificate, sealed.body, wrap, now_ms=NOW)
    received = peer.received
    return {
        "wrap": wrap,
        "body": sealed.body,
        "number": frame.number,
        "message_key": key,
        "olm_message": message,
        "order": opened.order.value,
        "missing": opened.missing,
        "pair_count_after": received.count,
        "pair_link_after": received.link,
        "inner": sealed.message.encode(),
        "text": text,
    }
