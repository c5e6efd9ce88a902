"""Addresses and ids have one written form each."""

import pytest

from miss_protocol import ids
from miss_protocol.errors import Malformed

LOCAL = "a" * 26


def test_an_address_is_sixteen_random_bytes_in_base32() -> None:
    assert ids.new_address(bytes(16), "miss.example") == f"{LOCAL}@miss.example"
    assert ids.new_address(b"\xff" * 16, "miss.example") == f"{'7' * 25}4@miss.example"


@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_address_takes_no_other_length(length: int) -> None:
    with pytest.raises(Malformed):
        ids.new_address(bytes(length), "miss.example")


@pytest.mark.parametrize(
    "domain",
    ["localhost", "miss.example", "a.b.c", "x1-y2.example", "a" * 63, ".".join(["a" * 49] * 5)],
)
def test_domains(domain: str) -> None:
    assert ids.is_domain(domain)
    assert ids.parse_address(f"{LOCAL}@{domain}") == f"{LOCAL}@{domain}"


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        "Miss.example",
        "miss..example",
        "miss.example.",
        "-miss.example",
        "miss-.example",
        "a" * 64,
        "hôpital.example",
        "miss.example\n",
        "miss example",
        ".".join(["a" * 50] * 5),
    ],
)
def test_no_domains(domain: str) -> None:
    assert not ids.is_domain(domain)
    with pytest.raises(Malformed):
        ids.parse_address(f"{LOCAL}@{domain}")


def test_the_longest_domain_makes_the_longest_address() -> None:
    longest = ".".join(["a" * 49] * 4 + ["a" * 53])
    assert len(longest) == 253
    assert ids.is_domain(longest)
    assert len(ids.parse_address(f"{LOCAL}@{longest}")) == 280
    assert not ids.is_domain(longest + "a")
    with pytest.raises(Malformed):
        ids.parse_address(f"{LOCAL}@{longest}a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@miss.example",
        f"{LOCAL}",
        f"{LOCAL[:-1]}@miss.example",
        f"{LOCAL}a@miss.example",
        f"{LOCAL[:-1]}A@miss.example",
        f"{LOCAL[:-1]}1@miss.example",
        f" {LOCAL}@miss.example",
        f"{LOCAL}@miss.example\n",
        f"{LOCAL}@{LOCAL}@miss.example",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(Malformed):
        ids.parse_address(text)


@pytest.mark.parametrize("last", "bcdfghjklnoprstvwxz23567")
def test_an_id_has_one_text_only(last: str) -> None:
    with pytest.raises(Malformed):
        ids.parse_address(f"{LOCAL[:-1]}{last}@miss.example")


@pytest.mark.parametrize("check", [ids.device_id, ids.message_id])
def test_devices_and_messages_have_sixteen_bytes(check: type) -> None:
    assert check(b"x" * 16) == b"x" * 16
    for length in (0, 15, 17):
        with pytest.raises(Malformed):
            check(bytes(length))
