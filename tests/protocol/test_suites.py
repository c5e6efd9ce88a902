"""What an envelope looks like from outside: nothing unencrypted passes for one."""

import json

import pytest

from miss_protocol import limits, suites
from miss_protocol.errors import Code, Refused
from miss_protocol.suites import BODY_BUCKETS, BODY_OVERHEAD, WRAP_MIN, padded_size


def refusal(check: object, data: bytes) -> Code | None:
    try:
        check(data)  # type: ignore[operator]  # one of the two checks
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        (0, 256),
        (1, 256),
        (256, 256),
        (257, 512),
        (512, 512),
        (1025, 2048),
        (4096, 4096),
        (4097, 4352),
        (8192, 8192),
        (8193, 8704),
        (16_000, 16_384),
    ],
)
def test_sizes_are_padded(size: int, padded: int) -> None:
    assert padded_size(size) == padded


def test_a_padded_size_is_its_own() -> None:
    for size in range(1, limits.BODY_MAX):
        padded = padded_size(size)
        assert padded >= size
        assert padded_size(padded) == padded
        assert size <= 4096 or padded <= size * 1.12


def body(padded: int, suite: int = 1) -> bytes:
    return bytes([suite]) + bytes(BODY_OVERHEAD - 1 + padded)


@pytest.mark.parametrize("padded", [*BODY_BUCKETS, 4352, 8192, 15_872])
def test_bodies_of_padded_sizes_pass(padded: int) -> None:
    assert refusal(suites.check_body, body(padded)) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.NOT_ENCRYPTED),
        (b"Bonjour, patiente de 74 ans, douleur thoracique.", Code.NOT_ENCRYPTED),
        (json.dumps({"text": "x" * 300}).encode(), Code.NOT_ENCRYPTED),
        (body(256, suite=0), Code.NOT_ENCRYPTED),
        (body(256, suite=2), Code.NOT_ENCRYPTED),
        (body(255), Code.NOT_ENCRYPTED),
        (body(257), Code.NOT_ENCRYPTED),
        (body(0), Code.NOT_ENCRYPTED),
        (body(limits.BODY_MAX), Code.TOO_LARGE),
    ],
)
def test_bodies_that_cannot_be_encrypted_are_refused(data: bytes, code: Code) -> None:
    assert refusal(suites.check_body, data) is code


def test_the_sizes_of_suite_one_are_those_of_the_specification() -> None:
    """04 §6 and §8, added up by hand."""
    assert WRAP_MIN == {0: 1270, 1: 62}
    assert BODY_OVERHEAD == 41


def test_the_largest_body_is_judged_by_its_form() -> None:
    largest = bytes([1]) + bytes(limits.BODY_MAX - 1)
    assert refusal(suites.check_body, largest) is Code.NOT_ENCRYPTED
    assert refusal(suites.check_body, largest + b"\0") is Code.TOO_LARGE


def test_wraps_of_a_known_suite_and_size_pass() -> None:
    for kind, size in WRAP_MIN.items():
        assert refusal(suites.check_wrap, bytes([1, kind]) + bytes(size - 2)) is None


@pytest.mark.parametrize(
    "wrap",
    [
        b"",
        b"\x01",
        b"\x01\x00",
        b"\x00\x01" + bytes(400),
        b"\x02\x01" + bytes(400),
        b"\x01\x02" + bytes(2_000),
        *(bytes([1, kind]) + bytes(size - 3) for kind, size in WRAP_MIN.items()),
    ],
)
def test_wraps_that_cannot_be_encrypted_are_refused(wrap: bytes) -> None:
    assert refusal(suites.check_wrap, wrap) is Code.NOT_ENCRYPTED
