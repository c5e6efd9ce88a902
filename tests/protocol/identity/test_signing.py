"""Signatures: bound to a role, one encoding, no key that signs everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from miss_protocol.errors import Untrusted
from miss_protocol.identity.signing import Role, sign, signed_bytes, verify

KEY = SigningKey(b"k" * 32)
PUBLIC = bytes(KEY.verify_key)
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@given(st.sampled_from(Role), st.lists(st.binary(max_size=20)))
def test_what_was_signed_verifies(role: Role, fields: list[bytes]) -> None:
    verify(PUBLIC, sign(KEY, role, *fields), role, *fields)


@pytest.mark.parametrize("made_for", Role)
@pytest.mark.parametrize("shown_as", Role)
def test_a_signature_serves_one_role(made_for: Role, shown_as: Role) -> None:
    signature = sign(KEY, made_for, b"field")
    if made_for is shown_as:
        verify(PUBLIC, signature, shown_as, b"field")
    else:
        with pytest.raises(Untrusted):
            verify(PUBLIC, signature, shown_as, b"field")


def test_fields_cannot_be_shifted_between_one_another() -> None:
    signature = sign(KEY, Role.MESSAGE, b"ab", b"c")
    for fields in ((b"a", b"bc"), (b"abc",), (b"ab", b"c", b""), (b"c", b"ab")):
        with pytest.raises(Untrusted):
            verify(PUBLIC, signature, Role.MESSAGE, *fields)


def test_no_role_holds_the_byte_that_ends_it() -> None:
    assert all(b"\0" not in role.value for role in Role)
    assert signed_bytes(Role.LOGIN) == b"MiSS/1/login\0"


def test_a_second_form_of_a_signature_is_refused() -> None:
    signature = sign(KEY, Role.MESSAGE, b"field")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(Untrusted):
        verify(PUBLIC, signature[:32] + scalar.to_bytes(32, "little"), Role.MESSAGE, b"field")


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_keys_of_small_order_are_refused(public: str) -> None:
    """For such a key the signature R = identity, S = 0 would hold for most or all messages."""
    for point in SMALL_ORDER:
        with pytest.raises(Untrusted):
            verify(bytes.fromhex(public), bytes.fromhex(point) + bytes(32), Role.MESSAGE, b"m")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_wrong_lengths_are_refused(length: int) -> None:
    signature = sign(KEY, Role.MESSAGE)
    with pytest.raises(Untrusted):
        verify(PUBLIC[:length] + b"x" * (length - 32), signature, Role.MESSAGE)
    with pytest.raises(Untrusted):
        verify(PUBLIC, signature[: length * 2] + b"x" * (length * 2 - 64), Role.MESSAGE)
