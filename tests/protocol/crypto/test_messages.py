"""Inner messages and contents: signed, canonical, forward compatible."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol import content as contents
from miss_protocol.content import Content, Text, Unknown
from miss_protocol.encoding import pack, unpack
from miss_protocol.errors import Malformed, MissError, Untrusted
from miss_protocol.identity import message as inner
from miss_protocol.identity.message import InnerMessage, Recipient
from miss_protocol.ids import MessageId
from tests.support.devices import NOW, Person

ALICE, BRUNO = Person(), Person()
ID = MessageId(b"m" * 16)


def compose(**changes: Any) -> InnerMessage:
    fields: dict[str, Any] = {
        "message": ID,
        "conversation": b"c" * 16,
        "sent_ms": NOW,
        "recipients": [ALICE.recipient, BRUNO.recipient],
        "content": contents.encode(Text(text="bonjour")),
        "log_head": b"",
    }
    return inner.compose(ALICE.device.signing_key, ALICE.device.certificate, **(fields | changes))


MESSAGE = compose(log_head=b"head")


def test_a_message_reads_back_and_holds() -> None:
    again = inner.decode(MESSAGE.encode())
    assert again == MESSAGE
    again.verify(ALICE.device.certificate)
    assert again.is_for(BRUNO.account)
    assert not again.is_for(Person().account)


@pytest.mark.parametrize(
    "forged",
    [
        replace(MESSAGE, id=MessageId(b"x" * 16)),
        replace(MESSAGE, conversation=b"x" * 16),
        replace(MESSAGE, sent_ms=NOW + 1),
        replace(MESSAGE, recipients=MESSAGE.recipients[:1]),
        replace(MESSAGE, content=contents.encode(Text(text="bonsoir"))),
        replace(MESSAGE, log_head=b""),
        replace(MESSAGE, sender=BRUNO.device.certificate.id),
        replace(MESSAGE, signature=bytes(64)),
    ],
)
def test_no_part_of_a_message_can_be_changed(forged: InnerMessage) -> None:
    with pytest.raises(Untrusted):
        forged.verify(ALICE.device.certificate)


def test_a_message_is_its_senders_only() -> None:
    named_another = inner.compose(
        ALICE.device.signing_key,
        BRUNO.device.certificate,
        message=ID,
        conversation=b"c" * 16,
        sent_ms=NOW,
        recipients=[BRUNO.recipient],
        content=b"",
        log_head=b"",
    )
    with pytest.raises(Untrusted):
        named_another.verify(ALICE.device.certificate)
    with pytest.raises(Untrusted):
        MESSAGE.verify(BRUNO.device.certificate)


@pytest.mark.parametrize(
    "changes",
    [
        {"conversation": b"c"},
        {"message": b"m"},
        {"recipients": []},
        {"recipients": [ALICE.recipient, ALICE.recipient]},
        {"recipients": [Recipient(Person().account, 1, bytes(32)) for _ in range(33)]},
        {"recipients": [Recipient(ALICE.account, 1, b"")]},
        {"log_head": bytes(129)},
    ],
)
def test_a_message_that_nobody_would_accept_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        compose(**changes)


def test_recipients_have_one_order() -> None:
    assert compose(recipients=[BRUNO.recipient, ALICE.recipient]) == compose()
    fields = unpack(MESSAGE.encode())
    fields[6] = pack(*reversed(unpack(fields[6])))
    with pytest.raises(Malformed):
        inner.decode(pack(*fields))


@pytest.mark.parametrize("field", [0, 1])
def test_another_version_or_suite_is_refused(field: int) -> None:
    fields = unpack(MESSAGE.encode())
    fields[field] = b"\2"
    with pytest.raises(Malformed):
        inner.decode(pack(*fields))


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_is_accepted(at: int, flip: int) -> None:
    data = bytearray(MESSAGE.encode())
    data[at % len(data)] ^= flip
    with pytest.raises((Malformed, Untrusted)):
        inner.decode(bytes(data)).verify(ALICE.device.certificate)


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_any_fields_are_refused_in_order(fields: list[bytes]) -> None:
    with pytest.raises(MissError):
        inner.decode(pack(*fields))


SAMPLES: list[Content] = [
    Text(text="Bonjour,\nun avis ?", fallback=""),
    contents.Reply(message=ID, text="Oui", fallback="Oui"),
    contents.Edit(message=ID, text="corrigé"),
    contents.Delete(message=ID, fallback="(message retiré)"),
    contents.Reaction(message=ID, symbol="👍"),
    contents.ReceiptRequest(message=ID),
    contents.Attachment(id=ID, key=b"k" * 32, hash=b"h" * 32, size=3, media_type="image/webp"),
    contents.Notice(event="admitted", text="Entrée en cardiologie"),
    contents.SessionAck(),
    contents.Escalation(message=ID, level=1),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_every_kind_reads_back(sample: Content) -> None:
    assert contents.decode(contents.encode(sample)) == sample


def test_there_is_a_sample_of_every_kind() -> None:
    assert {type(sample) for sample in SAMPLES} == set(contents.KINDS)


def test_a_newer_kind_is_shown_by_its_fallback() -> None:
    data = msgspec.msgpack.encode({"kind": "poll", "fallback": "Sondage : jeudi ?", "options": [1]})
    assert contents.decode(data) == Unknown(named="poll", fallback="Sondage : jeudi ?")


def test_newer_fields_of_a_known_kind_are_ignored() -> None:
    data = msgspec.msgpack.encode({"kind": "text", "text": "bonjour", "colour": "red"})
    assert contents.decode(data) == Text(text="bonjour")


def test_a_first_sending_names_no_original() -> None:
    plain = msgspec.msgpack.decode(contents.encode(Text(text="bonjour")))
    assert plain == {"kind": "text", "text": "bonjour"}
    anew = msgspec.msgpack.decode(contents.encode(Text(text="bonjour", original=ID)))
    assert anew == plain | {"original": ID}


@pytest.mark.parametrize("kind", ["poll", "text"])
def test_a_copy_of_what_cannot_be_shown_is_still_known(kind: str) -> None:
    data = msgspec.msgpack.encode({"kind": kind, "fallback": "f", "original": ID})
    assert contents.decode(data) == Unknown(named=kind, fallback="f", original=ID)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", Unknown()),
        (msgspec.msgpack.encode({"kind": "text", "text": "x", "original": b"short"}), Unknown()),
        (b"\xff", Unknown()),
        (msgspec.msgpack.encode(["text"]), Unknown()),
        (b"\x91" * 100_000 + b"\xc0", Unknown()),
        (b"\x81\xa4kind\xa2\xff\xfe", Unknown()),
        (msgspec.msgpack.encode({"kind": "text", "text": 3}), Unknown(named="text")),
        (
            msgspec.msgpack.encode({"kind": "delete", "message": b"x", "fallback": "f"}),
            Unknown(named="delete", fallback="f"),
        ),
        (b"\x82\xa4kind\xa4text\xa4text\xa2\xff\xfe", Unknown(named="text")),
    ],
)
def test_content_that_is_not_in_order_is_still_something_to_show(
    data: bytes, shown: Unknown
) -> None:
    assert contents.decode(data) == shown


@given(st.binary(max_size=300))
def test_any_bytes_give_a_content(data: bytes) -> None:
    assert isinstance(contents.decode(data), Content)


def test_everything_that_was_written_is_shown_somehow() -> None:
    assert contents.shown(Text(text="bonjour")) == ("bonjour", "text")
    assert contents.shown(contents.Reaction(message=ID, symbol="👍")) == ("", "reaction")
    assert contents.shown(Unknown(named="poll", fallback="Jeudi ?")) == ("Jeudi ?", "poll")
    assert contents.shown(Unknown()) == ("", "unknown")
