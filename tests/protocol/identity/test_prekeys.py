"""Prekeys: both halves under one signature, nothing stripped, nothing mixed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.encoding import pack, unpack
from miss_protocol.errors import Malformed, MissError, Untrusted
from miss_protocol.identity import prekeys
from tests.support.devices import NOW, Person

PERSON = Person()
DEVICE = PERSON.device
CERTIFICATE = DEVICE.certificate
FIRST, SECOND = DEVICE.new_prekeys(2, now_ms=NOW)
LAST = DEVICE.new_last_resort(now_ms=NOW)


@pytest.mark.parametrize("prekey", [FIRST, SECOND, LAST])
def test_it_reads_back_and_verifies(prekey: prekeys.SignedPrekey) -> None:
    again = prekeys.decode(prekey.encode())
    assert again == prekey
    again.verify(CERTIFICATE)


def test_ids_grow_over_both_kinds() -> None:
    assert [FIRST.id, SECOND.id, LAST.id] == [1, 2, 3]


@pytest.mark.parametrize(
    "forged",
    [
        replace(FIRST, pq=b""),
        replace(FIRST, pq=FIRST.pq[:-1]),
        replace(FIRST, otk=b""),
        replace(FIRST, pq=SECOND.pq),
        replace(FIRST, otk=SECOND.otk),
        replace(FIRST, id=SECOND.id),
        replace(FIRST, last_resort=True),
        replace(LAST, last_resort=False),
        replace(FIRST, device=Person().device.certificate.device),
        replace(FIRST, signature=SECOND.signature),
        replace(FIRST, signature=b""),
    ],
)
def test_halves_cannot_be_stripped_or_mixed(forged: prekeys.SignedPrekey) -> None:
    with pytest.raises(Untrusted):
        forged.verify(CERTIFICATE)


def test_a_prekey_that_names_another_device_is_refused() -> None:
    other = Person().device.certificate.device
    named = prekeys.issue(DEVICE.signing_key, other, 1, FIRST.otk, FIRST.pq, last_resort=False)
    with pytest.raises(Untrusted):
        named.verify(CERTIFICATE)


def test_another_devices_prekey_is_refused() -> None:
    with pytest.raises(Untrusted):
        FIRST.verify(PERSON.add_device().certificate)


def test_keys_of_small_order_are_refused_though_signed() -> None:
    for otk, pq in ((bytes(32), FIRST.pq), (FIRST.otk, FIRST.pq[:1184] + bytes(32))):
        signed = prekeys.issue(
            DEVICE.signing_key, CERTIFICATE.device, 9, otk, pq, last_resort=False
        )
        with pytest.raises(Untrusted):
            signed.verify(CERTIFICATE)


@pytest.mark.parametrize(("field", "value"), [(0, b"\2"), (1, b"\2"), (4, b""), (5, b"short")])
def test_another_suite_kind_or_length_is_malformed(field: int, value: bytes) -> None:
    fields = unpack(FIRST.encode())
    fields[field] = value
    with pytest.raises(Malformed):
        prekeys.decode(pack(*fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(MissError):
        prekeys.decode(data)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_is_accepted(at: int, flip: int) -> None:
    data = bytearray(FIRST.encode())
    data[at % len(data)] ^= flip
    with pytest.raises((Malformed, Untrusted)):
        prekeys.decode(bytes(data)).verify(CERTIFICATE)
