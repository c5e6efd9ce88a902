"""The rolling digest: no row can be lost, changed, swapped or renumbered without it showing."""

from hashlib import blake2b
from itertools import combinations

import pytest

from miss_protocol.digest import EMPTY, envelope_hash, gap_hash, roll
from tests.support import wire_samples as w

ROW = (w.ALICE, bytes(w.PHONE), bytes(w.MESSAGE), w.BODY, w.WRAP)


def rolled(*hashes: bytes) -> bytes:
    digest = EMPTY
    for position, row_hash in enumerate(hashes, 1):
        digest = roll(digest, position, row_hash)
    return digest


def test_nothing_has_a_digest_of_zeros() -> None:
    assert EMPTY == bytes(32) == rolled()


@pytest.mark.parametrize(
    "other",
    [
        (w.BRUNO, *ROW[1:]),
        (ROW[0], bytes(w.DESK), *ROW[2:]),
        (*ROW[:2], bytes(w.ANSWER), *ROW[3:]),
        (*ROW[:3], w.BODY[:-1], ROW[4]),
        (*ROW[:4], w.FIRST_WRAP),
    ],
)
def test_the_hash_of_a_row_covers_each_field(other: tuple[str, bytes, bytes, bytes, bytes]) -> None:
    assert envelope_hash(*other) != envelope_hash(*ROW)


def test_bytes_cannot_move_from_one_field_to_the_next() -> None:
    account, device, message, _, _ = ROW
    one = envelope_hash(account, device, message, b"ab", b"c")
    other = envelope_hash(account, device, message, b"a", b"bc")
    assert one != other


def test_the_hash_of_a_gap_tells_its_reason() -> None:
    assert len({gap_hash("quota"), gap_hash("restored"), envelope_hash(*ROW)}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    list(
        combinations(
            [
                rolled(b"a" * 32, b"b" * 32),
                rolled(b"b" * 32, b"a" * 32),
                rolled(b"a" * 32),
                rolled(b"a" * 32, b"a" * 32),
                rolled(),
                roll(EMPTY, 2, b"a" * 32),
            ],
            2,
        )
    ),
)
def test_histories_that_differ_have_digests_that_differ(one: bytes, other: bytes) -> None:
    assert one != other


def test_the_digest_is_computed_as_the_specification_says() -> None:
    def field(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    def hashed(data: bytes, person: bytes) -> bytes:
        return blake2b(data, digest_size=32, person=person).digest()

    account, device, message, body, wrap = ROW
    fields = b"".join(map(field, (account.encode(), device, message, body, wrap)))
    row_hash = hashed(fields, b"MiSS1 envelope")
    assert envelope_hash(*ROW) == row_hash
    assert gap_hash("quota") == hashed(b"quota", b"MiSS1 gap")
    before = bytes(range(32))
    expected = hashed(before + (7).to_bytes(8, "big") + row_hash, b"MiSS1 mailbox")
    assert roll(before, 7, row_hash) == expected
