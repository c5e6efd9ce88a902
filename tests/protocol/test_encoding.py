"""The canonical encoding: one encoding of a value, one value of an encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.encoding import (
    fixed,
    pack,
    pack_all,
    read_text,
    read_u64,
    u64,
    unpack,
    unpack_exactly,
)
from miss_protocol.errors import Malformed


def test_fields_stand_behind_their_lengths() -> None:
    assert pack(b"ab", b"") == bytes.fromhex("00000002 6162 00000000")
    assert pack() == b""
    assert pack_all([b"a"]) == pack(b"a")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_what_was_packed_is_unpacked(fields: list[bytes]) -> None:
    assert unpack(pack(*fields)) == fields
    assert unpack_exactly(pack(*fields), len(fields)) == fields


@given(st.binary(max_size=60))
def test_bytes_are_refused_or_are_the_one_encoding_of_what_they_say(data: bytes) -> None:
    try:
        fields = unpack(data)
    except Malformed:
        return
    assert pack(*fields) == data


@pytest.mark.parametrize(
    "data", [b"\0", b"\0\0\0", b"\0\0\0\2a", b"\xff\xff\xff\xff", b"\0\0\0\1ab"]
)
def test_lengths_that_do_not_fit_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(data)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_fields_is_refused(count: int) -> None:
    with pytest.raises(Malformed):
        unpack_exactly(pack(b"a", b"b"), count)


@pytest.mark.parametrize("value", [0, 1, 2**64 - 1])
def test_integers_have_eight_bytes(value: int) -> None:
    assert len(u64(value)) == 8
    assert read_u64(u64(value)) == value


@pytest.mark.parametrize("field", [b"", bytes(7), bytes(9)])
def test_integers_of_another_length_are_refused(field: bytes) -> None:
    with pytest.raises(Malformed):
        read_u64(field)


def test_text_is_utf8_within_its_limit() -> None:
    assert read_text("é".encode(), limit=2) == "é"
    assert read_text(b"", limit=0) == ""
    assert read_text(b" ~", limit=2) == " ~"


@pytest.mark.parametrize("field", ["éé".encode(), b"\xff", b"\xc3", b"a\nb", b"\x1b[2J", b"\x7f"])
def test_text_that_is_long_broken_or_controls_a_terminal_is_refused(field: bytes) -> None:
    with pytest.raises(Malformed):
        read_text(field, limit=3)


def test_a_length_is_checked() -> None:
    assert fixed(b"abc", 3) == b"abc"
    for length in (2, 4):
        with pytest.raises(Malformed):
            fixed(b"abc", length)
