"""One or several instances of every frame, always the same, for vectors, schemas and fuzz.

Names and keys in them are fictive; bodies and wraps have the right form and sizes and no content.
"""

from dataclasses import dataclass
from typing import Literal

from nacl.signing import SigningKey

from miss_protocol import frames as f
from miss_protocol.digest import envelope_hash, gap_hash
from miss_protocol.directory import (
    DirectorySources,
    Entry,
    Nomenclature,
    Place,
    SearchPage,
    Source,
)
from miss_protocol.identity.login import sign_login
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt
from miss_protocol.ids import DeviceId, MessageId, new_address
from miss_protocol.suites import BODY_OVERHEAD, WRAP_MIN

AT = 1_790_000_000_000
DOMAIN = "messagerie.example"

ALICE = new_address(b"account of alice", DOMAIN)
BRUNO = new_address(b"account of bruno", DOMAIN)
PHONE = DeviceId(b"p" * 16)
"""Alice's."""
TABLET = DeviceId(b"t" * 16)
"""Bruno's."""
DESK = DeviceId(b"d" * 16)
"""Bruno's other one."""
PHONE_KEY = SigningKey(b"p" * 32)
TABLET_KEY = SigningKey(b"t" * 32)

MESSAGE = MessageId(b"message of alice")
ANSWER = MessageId(b"answer of bruno!")
EPOCH = b"the first epoch."
LATER_EPOCH = b"the second epoch"
NONCE = bytes(range(32))
BODY = b"\x01" + bytes(BODY_OVERHEAD + 256 - 1)
FIRST_WRAP = b"\x01\x00" + bytes(1_600)
WRAP = b"\x01\x01" + bytes(WRAP_MIN[0x01] + 200)
APP = f.App("Exemple", "1.2.0", "python")


def login(
    device: DeviceId = PHONE, key: SigningKey = PHONE_KEY, subprotocol: str = f.MSGPACK
) -> bytes:
    """The signature of a hello that answers `NONCE`."""
    return sign_login(key, domain=DOMAIN, nonce=NONCE, device=device, subprotocol=subprotocol)


def receipt(state: ReceiptState = ReceiptState.DELIVERED) -> Receipt:
    """Bruno's tablet has Alice's message."""
    return sign_receipt(
        TABLET_KEY,
        message=MESSAGE,
        sender_device=PHONE,
        recipient_device=TABLET,
        state=state,
        at_ms=AT + 2_000,
    )


def hello() -> f.Hello:
    """A first hello, with nothing behind it."""
    return f.Hello(PHONE, login(), APP, 0, bytes(32), 0)


def send(sn: int = 1) -> f.Send:
    """From Alice's phone to Bruno's two devices."""
    return f.Send(
        sn,
        MESSAGE,
        AT,
        BODY,
        (f.DeviceWrap(DESK, FIRST_WRAP), f.DeviceWrap(TABLET, WRAP)),
        (f.RosterUsed(ALICE, 1), f.RosterUsed(BRUNO, 2)),
    )


def deliver(position: int = 1) -> f.Deliver:
    """Alice's message as Bruno's tablet gets it."""
    return f.Deliver(position, ALICE, PHONE, MESSAGE, BODY, WRAP, AT + 1_000)


ROW_HASH = envelope_hash(ALICE, PHONE, MESSAGE, BODY, WRAP)


@dataclass(frozen=True)
class Sample:
    """A frame with a name; `sender` is the end that writes it."""

    name: str
    sender: Literal["client", "server"]
    frame: f.Frame


SAMPLES: tuple[Sample, ...] = (
    Sample("ping", "client", f.Ping(7)),
    Sample("ping of the server", "server", f.Ping(1)),
    Sample("pong", "client", f.Pong(1)),
    Sample("pong of the server", "server", f.Pong(2**53 - 1)),
    Sample("first hello", "client", hello()),
    Sample(
        "hello that resumes",
        "client",
        f.Hello(PHONE, login(), APP, 41, bytes([9]) * 32, 12, EPOCH, 3, ("photos",), 11),
    ),
    Sample("send", "client", send()),
    Sample(
        "urgent control send to one device",
        "client",
        f.Send(
            2,
            ANSWER,
            AT,
            BODY,
            (f.DeviceWrap(TABLET, WRAP),),
            (f.RosterUsed(ALICE, 1), f.RosterUsed(BRUNO, 2)),
            kind="control",
            urgency="urgent",
            ttl=3600,
            partial=True,
        ),
    ),
    Sample("ack of a position", "client", f.Ack(position=42)),
    Sample("ack of a status", "client", f.Ack(tick=5)),
    Sample(
        "ack with receipts",
        "client",
        f.Ack(42, 5, (receipt(), receipt(ReceiptState.READ)), ref=1),
    ),
    Sample("nack", "client", f.Nack(42, "undecryptable")),
    Sample("challenge", "server", f.Challenge(NONCE, DOMAIN, AT)),
    Sample("welcome", "server", f.Welcome(ALICE, EPOCH, 43, 41, 12, AT, 50, 3)),
    Sample(
        "welcome after a restore",
        "server",
        f.Welcome(
            ALICE,
            LATER_EPOCH,
            40,
            40,
            12,
            AT,
            0,
            3,
            "2026-1",
            AT,
            bytes([8]) * 32,
            True,
            ("restore",),
        ),
    ),
    Sample("sent", "server", f.Sent(1, MESSAGE, AT + 1_000)),
    Sample(
        "sent but to one device",
        "server",
        f.Sent(1, MESSAGE, AT + 1_000, (f.DeviceRefused(DESK, "mailbox_full"),)),
    ),
    Sample("refused", "server", f.Refused(2, "stale_roster", (BRUNO,))),
    Sample("refused for now", "server", f.Refused(3, "unconfirmed", (BRUNO,), 30.0)),
    Sample("retry", "server", f.RetrySend(4, "not_durable", 2.0)),
    Sample("deliver", "server", deliver()),
    Sample(
        "deliver of an urgent first message",
        "server",
        f.Deliver(2, ALICE, PHONE, ANSWER, BODY, FIRST_WRAP, AT, kind="message", urgency="urgent"),
    ),
    Sample(
        "deliver of a control message",
        "server",
        f.Deliver(3, ALICE, PHONE, ANSWER, BODY, WRAP, AT, kind="control"),
    ),
    Sample("gap of expired rows", "server", f.Gap(4, 5, "expired", 2, (ROW_HASH, bytes(32)))),
    Sample("gap of a full mailbox", "server", f.Gap(6, 6, "quota", 17, (gap_hash("quota"),))),
    Sample("drained", "server", f.Drained(6)),
    Sample(
        "status with every state",
        "server",
        f.Status(
            5,
            MESSAGE,
            1,
            (
                f.DeviceState(TABLET, "delivered", AT + 2_000, receipt().signature),
                f.DeviceState(DESK, "waiting", AT + 1_000),
                f.DeviceState(b"1" * 16, "read", AT + 3_000, receipt(ReceiptState.READ).signature),
                f.DeviceState(b"2" * 16, "undecryptable", AT + 3_000),
                f.DeviceState(b"3" * 16, "expired", AT + 3_000),
                f.DeviceState(b"4" * 16, "refused", AT + 3_000),
                f.DeviceState(b"5" * 16, "revoked", AT + 3_000),
            ),
        ),
    ),
    Sample("acked", "server", f.Acked(1)),
    Sample("error", "server", f.Error("malformed", "This is not a valid request.")),
    Sample(
        "error about an ack",
        "server",
        f.Error("receipt_unknown", "The receipt is for a message …", "ack", 1, 0.5),
    ),
    Sample("bye", "server", f.Bye("busy", 2.0)),
    Sample(
        "error with the reason of a suspension",
        "server",
        f.Error("suspended", "This account is suspended.", "hello", reason="Compte en double."),
    ),
)
"""At least one of each frame of each direction; every optional field is set in one of them."""


# --- the directory --------------------------------------------------------------------------------

FOLDED = (
    "LEFÉVÈRE-DESPRÉ", "L'Haÿ-les-Roses", "D’HAËNE", "Cœur", "Straße", "ŁÓDŹ", "ﬁn", "ŉ", "ʼn", "x₂",
    "CHU de P. (2e étage)", "  ", "",
)  # fmt: skip
QUERIES = ("Dr Martin cardio à Lille", "le de la", "d'haene", "x", "59000 ide", "ide ide IDE")
PAGE = SearchPage(
    (
        Entry(
            "899000000010",
            "person",
            "Vandrelle",
            "Camille",
            "Docteur",
            "Médecin",
            "10",
            ("Médecine générale",),
            (
                Place(
                    "Maison de santé du Beffroi",
                    "12B Rue des Arts",
                    "59000",
                    "Lille",
                    "Nord",
                    "0353010101",
                    "59350",
                ),
            ),
            "miss",
            ALICE,
            ("RPPS", "MSSANTE"),
            ("SM54",),
            mailboxes=("camille.vandrelle@exemple.mssante.fr",),
            other_names=("Camille Autrenom",),
        ),
        Entry(
            "1599900018",
            "organisation",
            "Centre hospitalier de l'Écluse",
            places=(Place(postcode="59037", city="LILLE", department="NORD"),),
            reach="mailbox",
            sources=("FINESS", "MSSANTE"),
            category="Centre Hospitalier (C.H.)",
            mailboxes=("contact@exemple.mssante.fr",),
        ),
        Entry("1599900018.cardiologie", "organisation", "Cardiologie", part_of="1599900018"),
        Entry("local.reseau.12-b", "person", "Quesnimont", "Anne", part_of="1599900018"),
    ),
    "b3BhcXVl",
    "2026-01-04",
    (
        Source("FINESS", "2026-01-04"),
        Source("MSSANTE", "2026-01-14", "2026-01-05"),
        Source("RPPS", "2026-01-14"),
    ),
)
"""A page of a search."""
REPAIRED_PAGE = SearchPage(
    (
        Entry("899000000010", "person", "Martin", "Alix", reach="none", distance=3),
        Entry(
            "899000000028", "person", "Martine", "Alix", reach="none", distance=12, repaired=True
        ),
    ),
    None,
    "2026-01-04",
    (Source("RPPS", "2026-01-14"),),
    ("martine", "lille"),
)
MADE_FROM = DirectorySources(
    "2026-01-05",
    (Source("MSSANTE", "2026-01-14", "2026-01-05"), Source("RPPS", "2026-01-05")),
    (Nomenclature("TRE_G15-ProfessionSante", "1.1.0", "2024-03-29"),),
)
"""What a directory was made from."""
EMPLOYED = Entry(
    "899000000010",
    "person",
    "Vandrelle",
    places=(
        Place("Centre hospitalier de l'Écluse", establishment="1599900018"),
        Place(city="Lille"),
    ),
)
"""Somebody who works at an establishment, and elsewhere."""
SOUNDS = (
    "philippe", "filip", "thibault", "lefaivre", "dupond", "quesnimont", "cecile", "yvain", "moreaux",
    "campagne", "schmitt", "xavier", "gerard", "wagner", "baroeul", "haye", "es", "bordox",
    "aix",
)  # fmt: skip
REPAIRS = (
    ("martn", "martin"), ("nartin", "martin"), ("durant", "durand"), ("mratin", "martin"),
    ("tourcooign", "tourcoing"), ("philipe", "philippe"), ("filipe", "philippe"),
)  # fmt: skip
"""Words as typed and as meant."""
