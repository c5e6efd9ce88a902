"""Write `protocol/vectors/*.json` of identities and encryption: `python -m tests.support.make_vectors`.

For whoever writes another client. They are ours, not a third party's: they show what this
implementation does, and a test keeps it doing so. What the protocol determines follows from fixed
seeds; handshakes and wraps hold the randomness of Olm and HPKE, which take none from outside, so
they are recorded with the receiver's private state and replayed on the receiving side. Running
this again records other handshakes: do it only when the format itself changes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from miss_protocol import content as contents
from miss_protocol.content import Text
from miss_protocol.crypto import body as bodies
from miss_protocol.crypto import hybrid
from miss_protocol.encoding import pack, unpack
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import message as inner
from miss_protocol.identity import prekeys
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.link import approval_code
from miss_protocol.identity.message import Recipient
from miss_protocol.identity.receipts import ReceiptState, sign_receipt
from miss_protocol.identity.roster import Roster, RosterEntry
from miss_protocol.identity.safety import safety_number
from miss_protocol.identity.signing import Role, sign
from miss_protocol.ids import DeviceId, MessageId, new_address
from tests.support.proof_vectors import proof_vectors
from tests.support.record_sessions import handshake_vectors, wrap_vectors
from tests.support.report_vectors import report_vectors

NOW = 1_790_000_000_000
FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"

ACCOUNT = new_address(b"account of alice", "messagerie.example")
OTHER_ACCOUNT = new_address(b"account of bruno", "messagerie.example")


class Device:
    """A device whose keys follow from one letter."""

    def __init__(self, letter: str) -> None:
        self.seed = letter.encode() * 32
        self.key = SigningKey(self.seed)
        self.certificate = certificates.issue(
            self.key,
            ACCOUNT,
            DeviceId(letter.encode() * 16),
            bytes(PrivateKey(letter.upper().encode() * 32).public_key),
            NOW,
        )

    def entry(self, *, approve: bool = False) -> RosterEntry:
        """As a roster lists it."""
        return RosterEntry(self.certificate, f"appareil {chr(self.seed[0])}", approve)


PHONE, TABLET, DESK = Device("p"), Device("t"), Device("d")
ACCOUNT_KEY = SigningKey(b"A" * 32)
V1 = rosters.found(ACCOUNT_KEY, ACCOUNT, PHONE.entry(approve=True), now_ms=NOW)
V2 = rosters.succeed(
    V1, PHONE.key, PHONE.certificate.device, add=[TABLET.entry(approve=True)], now_ms=NOW + 1
)
V3 = rosters.succeed(
    V2,
    TABLET.key,
    TABLET.certificate.device,
    add=[DESK.entry()],
    revoke=[PHONE.certificate.device],
    now_ms=NOW + 2,
)


def certificate_vectors() -> dict[str, Any]:
    """Certificates from seeds, and forgeries of one."""
    good = PHONE.certificate.encode()
    fields = unpack(good)
    foreign = [*fields[:6], TABLET.certificate.signature]
    low = [*fields[:4], bytes(32), *fields[5:]]
    return {
        "valid": [
            {
                "signing_seed": device.seed,
                "account": device.certificate.account,
                "device": device.certificate.device,
                "signing_key": device.certificate.signing_key,
                "olm_key": device.certificate.olm_key,
                "created_ms": device.certificate.created_ms,
                "encoded": device.certificate.encode(),
                "id": device.certificate.id,
                "approval_code": approval_code(device.certificate),
            }
            for device in (PHONE, TABLET, DESK)
        ],
        "invalid": [
            _invalid("another suite", pack(b"\2", *fields[1:]), "malformed"),
            _invalid("bytes left over", good + b"\0", "malformed"),
            _invalid("a field too many", good + pack(b""), "malformed"),
            _invalid("the signature of another device", pack(*foreign), "untrusted"),
            _invalid("an Olm key of small order", pack(*low), "untrusted"),
        ],
    }


def roster_vectors() -> dict[str, Any]:
    """A chain of three versions, and chains that are refused."""
    intruder = rosters.found(SigningKey(b"X" * 32), ACCOUNT, DESK.entry(approve=True), now_ms=NOW)
    without_right = _resign(replace(V3, version=4, previous=V3.hash), DESK)
    revoked = _resign(replace(V3, version=4, previous=V3.hash), PHONE)
    vanished = _resign(replace(V3, version=4, previous=V3.hash, revoked=()), TABLET)
    silently = _resign(replace(V3, version=4, previous=V3.hash, entries=V3.entries[1:]), TABLET)
    chain = [V1, V2, V3]
    return {
        "account": ACCOUNT,
        "account_seed": bytes(ACCOUNT_KEY),
        "genesis": V1.genesis,
        "valid": [
            {"encoded": one.encode(), "hash": one.hash, "version": one.version} for one in chain
        ],
        "invalid": [
            {"why": why, "known": known, "chain": [one.encode() for one in offered]}
            for why, known, offered in (
                ("the first version is missing", None, [V2, V3]),
                ("a version is missing", None, [V1, V3]),
                ("the server goes back", 3, [V1, V2]),
                ("another genesis", 1, [intruder]),
                ("a signer without the right", 3, [without_right]),
                ("a signer that was revoked", 3, [revoked]),
                ("a revocation vanished", 3, [vanished]),
                ("a device left without a revocation", 3, [silently]),
            )
        ],
    }


def bundle_vectors() -> dict[str, Any]:
    """Prekeys of both kinds, and mixed or stripped ones."""
    made = []
    for number, last_resort in ((1, False), (2, False), (3, True)):
        seed = bytes([number]) * 32
        otk = bytes(PrivateKey(bytes([64 + number]) * 32).public_key)
        prekey = prekeys.issue(
            PHONE.key,
            PHONE.certificate.device,
            number,
            otk,
            hybrid.public_key(seed),
            last_resort=last_resort,
        )
        made.append((seed, prekey))
    first, second, last = (prekey for _, prekey in made)
    return {
        "certificate": PHONE.certificate.encode(),
        "valid": [
            {
                "id": prekey.id,
                "otk": prekey.otk,
                "xwing_seed": seed,
                "pq": prekey.pq,
                "last_resort": prekey.last_resort,
                "encoded": prekey.encode(),
            }
            for seed, prekey in made
        ],
        "invalid": [
            _invalid("no post-quantum half", replace(first, pq=b"").encode(), "malformed"),
            _invalid("halves of two", replace(first, pq=second.pq).encode(), "untrusted"),
            _invalid("another kind", replace(last, last_resort=False).encode(), "untrusted"),
            _invalid("another number", replace(first, id=9).encode(), "untrusted"),
        ],
    }


def receipt_vectors() -> dict[str, Any]:
    """Both states, by the tablet, of a message from the phone."""
    cases = [
        sign_receipt(
            TABLET.key,
            message=MessageId(b"message of alice"),
            sender_device=PHONE.certificate.device,
            recipient_device=TABLET.certificate.device,
            state=state,
            at_ms=NOW,
        )
        for state in ReceiptState
    ]
    return {
        "certificate": TABLET.certificate.encode(),
        "signing_seed": TABLET.seed,
        "valid": [
            {
                "message": one.message,
                "sender_device": one.sender_device,
                "recipient_device": one.recipient_device,
                "state": one.state.value,
                "at_ms": one.at_ms,
                "signature": one.signature,
            }
            for one in cases
        ],
    }


def safety_vectors() -> dict[str, Any]:
    """Numbers of pairs of accounts."""
    pairs = [(V1.genesis, bytes(32)), (bytes(32), V1.genesis), (b"\1" * 32, b"\2" * 32)]
    return {
        "valid": [
            {"one": one, "other": other, "number": safety_number(one, other)}
            for one, other in pairs
        ]
    }


def body_vectors() -> dict[str, Any]:
    """Inner messages, their content and their bodies."""
    cases: list[dict[str, Any]] = []
    first = MessageId(b"message of alice")
    for text, id, original in (
        ("Bonjour", first, None),
        ("é" * 100, first, None),
        ("x" * 3000, first, None),
        ("y" * 7000, first, None),
        ("Bonjour", MessageId(b"the same, anew 1"), first),
    ):
        content = contents.encode(Text(text=text, original=original))
        message = inner.compose(
            PHONE.key,
            PHONE.certificate,
            message=id,
            conversation=b"a conversation 1",
            sent_ms=NOW,
            recipients=[Recipient.of(V3), Recipient(OTHER_ACCOUNT, 1, b"\7" * 32)],
            content=content,
            log_head=b"",
        )
        body = bodies.seal(message.encode(), message.id, content_key=b"K" * 32)
        cases.append(
            {
                "message": message.id,
                "conversation": message.conversation,
                "sent_ms": message.sent_ms,
                "recipients": [
                    {"account": one.account, "version": one.version, "hash": one.roster_hash}
                    for one in message.recipients
                ],
                "text": text,
                "content": content,
                "inner": message.encode(),
                "content_key": b"K" * 32,
                "body": body,
                "body_hash": bodies.body_hash(body),
            }
            | ({} if original is None else {"original": original})
        )
    good: bytes = cases[0]["body"]
    return {
        "certificate": PHONE.certificate.encode(),
        "signing_seed": PHONE.seed,
        "valid": cases,
        "invalid": [
            _invalid("another suite", b"\2" + good[1:], "undecryptable"),
            _invalid("another nonce", good[:1] + bytes(24) + good[25:], "undecryptable"),
            _invalid("a flipped bit", good[:-1] + bytes([good[-1] ^ 1]), "undecryptable"),
            _invalid("cut short", good[:-1], "undecryptable"),
        ],
    }


def _resign(roster: Roster, by: Device) -> Roster:
    unsigned = replace(roster, signer=by.certificate.device, signature=b"")
    return replace(unsigned, signature=sign(by.key, Role.ROSTER, *unsigned.signed_fields()))


def _invalid(why: str, encoded: bytes, error: str) -> dict[str, Any]:
    return {"why": why, "encoded": encoded, "error": error}


def hexed(value: Any) -> Any:
    """Bytes as hexadecimal, all through a structure."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: hexed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [hexed(one) for one in value]
    return value


DETERMINED: dict[str, Callable[[], Any]] = {
    "certificates": certificate_vectors,
    "rosters": roster_vectors,
    "bundles": bundle_vectors,
    "receipts": receipt_vectors,
    "safety": safety_vectors,
    "proofs": proof_vectors,
    "bodies": body_vectors,
    "reports": lambda: report_vectors([V1, V2, V3], PHONE, TABLET, OTHER_ACCOUNT),
}
RECORDED = {"handshakes": handshake_vectors, "wraps": wrap_vectors}
ABOUT = "MiSS protocol, suite 0x01: made by this project's implementation. Bytes are hexadecimal."


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in (DETERMINED | RECORDED).items():
        text = json.dumps({"about": ABOUT} | hexed(make()), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
