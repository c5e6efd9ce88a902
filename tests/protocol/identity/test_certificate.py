"""Device certificates: one encoding, proof of possession."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from miss_protocol.encoding import pack, unpack
from miss_protocol.errors import Malformed, MissError, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity.agreement import check_agreement_key
from miss_protocol.ids import AccountAddress, DeviceId
from tests.support.devices import NOW, address

KEY = SigningKey.generate()
OLM = bytes(PrivateKey.generate().public_key)
CERTIFICATE = certificates.issue(KEY, address(), DeviceId(b"d" * 16), OLM, NOW)


def test_it_reads_back_and_keeps_its_name() -> None:
    again = certificates.decode(CERTIFICATE.encode())
    assert again == CERTIFICATE
    assert again.id == CERTIFICATE.id
    assert len(again.id) == 32


def test_its_name_covers_every_field() -> None:
    other_device = DeviceId(b"e" * 16)
    names = {
        CERTIFICATE.id,
        certificates.issue(KEY, address(), DeviceId(b"d" * 16), OLM, NOW).id,
        certificates.issue(KEY, CERTIFICATE.account, other_device, OLM, NOW).id,
        certificates.issue(KEY, CERTIFICATE.account, DeviceId(b"d" * 16), OLM, NOW + 1).id,
        certificates.issue(
            SigningKey.generate(), CERTIFICATE.account, DeviceId(b"d" * 16), OLM, NOW
        ).id,
    }
    assert len(names) == 5


@pytest.mark.parametrize("field", range(7))
def test_no_field_can_be_changed(field: int) -> None:
    fields = unpack(CERTIFICATE.encode())
    fields[field] = bytes([fields[field][0] ^ 1]) + fields[field][1:]
    with pytest.raises((Malformed, Untrusted)):
        certificates.decode(pack(*fields))


def test_anothers_key_cannot_be_listed_as_ones_own() -> None:
    """Identity misbinding: the signature must be by the key inside."""
    fields = unpack(CERTIFICATE.encode())
    thief = certificates.issue(SigningKey.generate(), address(), DeviceId(b"t" * 16), OLM, NOW)
    fields[6] = thief.signature
    with pytest.raises(Untrusted):
        certificates.decode(pack(*fields))


def test_an_olm_key_of_small_order_is_refused() -> None:
    for bad in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(Untrusted):
            certificates.issue(KEY, address(), DeviceId(b"d" * 16), bad, NOW)


def test_an_agreement_key_has_one_form_and_one_length() -> None:
    assert check_agreement_key(OLM) == OLM
    second = (int.from_bytes(OLM, "little") | 1 << 255).to_bytes(32, "little")
    with pytest.raises(Untrusted):
        check_agreement_key(second)
    with pytest.raises(Malformed):
        check_agreement_key(OLM[:31])


def test_ids_must_be_ids() -> None:
    with pytest.raises(Malformed):
        certificates.issue(KEY, AccountAddress("nobody"), DeviceId(b"d" * 16), OLM, NOW)
    with pytest.raises(Malformed):
        certificates.issue(KEY, address(), DeviceId(b"d"), OLM, NOW)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(MissError):
        certificates.decode(data)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_is_accepted(at: int, flip: int) -> None:
    data = bytearray(CERTIFICATE.encode())
    data[at % len(data)] ^= flip
    with pytest.raises((Malformed, Untrusted)):
        certificates.decode(bytes(data))


def test_nothing_may_follow() -> None:
    with pytest.raises(Malformed):
        certificates.decode(CERTIFICATE.encode() + os.urandom(4))
