"""What a device signs besides messages: logins, receipts, the charter."""

from dataclasses import replace
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.encoding import pack, unpack
from miss_protocol.errors import Malformed, MissError, Untrusted
from miss_protocol.identity import charter
from miss_protocol.identity.login import sign_login, verify_login
from miss_protocol.identity.receipts import Receipt, ReceiptState, sign_receipt, verify_receipt
from miss_protocol.identity.signing import Role, verify
from miss_protocol.ids import DeviceId, MessageId
from tests.support.devices import DOMAIN, NOW, Person

PERSON = Person()
DEVICE = PERSON.device
CERTIFICATE = DEVICE.certificate
OTHER = Person().device.certificate


class Login(TypedDict):
    domain: str
    nonce: bytes
    device: DeviceId
    subprotocol: str


LOGIN = Login(
    domain=DOMAIN, nonce=b"n" * 32, device=CERTIFICATE.device, subprotocol="miss.v1.msgpack"
)


def test_a_login_holds() -> None:
    verify_login(CERTIFICATE.signing_key, sign_login(DEVICE.signing_key, **LOGIN), **LOGIN)


@pytest.mark.parametrize(
    "other",
    [
        LOGIN | {"domain": "autre.example"},
        LOGIN | {"nonce": b"m" * 32},
        LOGIN | {"device": OTHER.device},
        LOGIN | {"subprotocol": "miss.v1.json"},
    ],
)
def test_a_login_serves_one_challenge_of_one_server(other: Login) -> None:
    signature = sign_login(DEVICE.signing_key, **LOGIN)
    with pytest.raises(Untrusted):
        verify_login(CERTIFICATE.signing_key, signature, **other)


def test_a_login_has_a_full_nonce() -> None:
    """A short nonce could be one that was used before."""
    with pytest.raises(Malformed):
        sign_login(DEVICE.signing_key, **(LOGIN | Login(**(LOGIN | {"nonce": b""}))))


def test_a_challenge_cannot_ask_for_another_kind_of_signature() -> None:
    """Context confusion: whatever the nonce, no certificate comes of it."""
    signature = sign_login(DEVICE.signing_key, **LOGIN)
    for role in set(Role) - {Role.LOGIN}:
        with pytest.raises(Untrusted):
            verify(CERTIFICATE.signing_key, signature, role, *_login_fields())


def _login_fields() -> list[bytes]:
    return [DOMAIN.encode(), LOGIN["nonce"], LOGIN["device"], LOGIN["subprotocol"].encode()]


def receipt(state: ReceiptState = ReceiptState.DELIVERED) -> Receipt:
    return sign_receipt(
        DEVICE.signing_key,
        message=MessageId(b"m" * 16),
        sender_device=OTHER.device,
        recipient_device=CERTIFICATE.device,
        state=state,
        at_ms=NOW,
    )


@pytest.mark.parametrize("state", ReceiptState)
def test_a_receipt_survives_both_encodings(state: ReceiptState) -> None:
    signed = receipt(state)
    by_json = msgspec.json.decode(msgspec.json.encode(signed), type=Receipt)
    by_msgpack = msgspec.msgpack.decode(msgspec.msgpack.encode(signed), type=Receipt)
    assert signed == by_json == by_msgpack
    verify_receipt(by_json, CERTIFICATE)


@pytest.mark.parametrize(
    "changes",
    [
        {"message": b"x" * 16},
        {"sender_device": b"x" * 16},
        {"recipient_device": OTHER.device},
        {"state": ReceiptState.READ},
        {"at_ms": NOW + 1},
        {"signature": bytes(64)},
    ],
)
def test_no_part_of_a_receipt_can_be_changed(changes: dict[str, object]) -> None:
    with pytest.raises(Untrusted):
        verify_receipt(msgspec.structs.replace(receipt(), **changes), CERTIFICATE)


def test_a_device_signs_no_receipt_for_another() -> None:
    signed = sign_receipt(
        DEVICE.signing_key,
        message=MessageId(b"m" * 16),
        sender_device=CERTIFICATE.device,
        recipient_device=OTHER.device,
        state=ReceiptState.READ,
        at_ms=NOW,
    )
    with pytest.raises(Untrusted):
        verify_receipt(signed, CERTIFICATE)


def test_a_receipt_of_another_device_does_not_count() -> None:
    with pytest.raises(Untrusted):
        verify_receipt(receipt(), OTHER)


@pytest.mark.parametrize(
    "field", [{"id": b"x"}, {"from": b"x" * 17}, {"state": "seen"}, {"at": -1}, {"sig": b""}]
)
def test_a_receipts_fields_have_their_form(field: dict[str, object]) -> None:
    builtins = msgspec.msgpack.decode(msgspec.msgpack.encode(receipt()))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(builtins | field), type=Receipt)


TEXT = "La messagerie sert au soin des patients."
ACCEPTED = charter.accept(
    DEVICE.signing_key,
    CERTIFICATE,
    version="2026-1",
    text_hash=charter.charter_hash(TEXT),
    at_ms=NOW,
)


def test_an_acceptance_reads_back_and_holds() -> None:
    again = charter.decode(ACCEPTED.encode())
    assert again == ACCEPTED
    again.verify(CERTIFICATE)


@pytest.mark.parametrize(
    "forged",
    [
        replace(ACCEPTED, version="2026-2"),
        replace(ACCEPTED, text_hash=charter.charter_hash(TEXT + " ")),
        replace(ACCEPTED, at_ms=NOW + 1),
        replace(ACCEPTED, account=OTHER.account),
        replace(ACCEPTED, device=OTHER.device),
        replace(ACCEPTED, signature=bytes(64)),
    ],
)
def test_no_part_of_an_acceptance_can_be_changed(forged: charter.CharterAcceptance) -> None:
    with pytest.raises(Untrusted):
        forged.verify(CERTIFICATE)


@pytest.mark.parametrize("changes", [{"account": OTHER.account}, {"device": OTHER.device}])
def test_a_device_accepts_for_itself_only(changes: dict[str, Any]) -> None:
    named = charter.accept(
        DEVICE.signing_key,
        replace(CERTIFICATE, **changes),
        version="2026-1",
        text_hash=charter.charter_hash(TEXT),
        at_ms=NOW,
    )
    with pytest.raises(Untrusted):
        named.verify(CERTIFICATE)


def test_a_charter_hash_has_its_length() -> None:
    with pytest.raises(Malformed):
        charter.accept(DEVICE.signing_key, CERTIFICATE, version="1", text_hash=b"", at_ms=NOW)


@pytest.mark.parametrize(("field", "value"), [(2, b"v" * 65), (3, b""), (5, b"")])
def test_an_acceptances_fields_have_their_form(field: int, value: bytes) -> None:
    fields = unpack(ACCEPTED.encode())
    fields[field] = value
    with pytest.raises(Malformed):
        charter.decode(pack(*fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(MissError):
        charter.decode(data)
