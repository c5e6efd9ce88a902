"""What people compare by eye: safety numbers and approval codes."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.errors import Malformed
from miss_protocol.identity import link
from miss_protocol.identity.link import approval_code, matches, read_code
from miss_protocol.identity.safety import safety_number
from tests.support.devices import Person

ALICE, BRUNO, CHLOE = Person(), Person(), Person()


def test_both_sides_see_the_same_sixty_digits() -> None:
    number = safety_number(ALICE.roster.genesis, BRUNO.roster.genesis)
    assert number == safety_number(BRUNO.roster.genesis, ALICE.roster.genesis)
    assert re.fullmatch(r"\d{5}( \d{5}){11}", number)


def test_another_account_gives_another_number() -> None:
    mine = ALICE.roster.genesis
    assert safety_number(mine, BRUNO.roster.genesis) != safety_number(mine, CHLOE.roster.genesis)


def test_it_does_not_change_with_devices() -> None:
    before = safety_number(ALICE.roster.genesis, BRUNO.roster.genesis)
    CHLOE.add_device()
    BRUNO.add_device()
    assert safety_number(ALICE.roster.genesis, BRUNO.roster.genesis) == before


def test_it_is_over_whole_hashes() -> None:
    with pytest.raises(Malformed):
        safety_number(b"", BRUNO.roster.genesis)


def test_a_code_names_one_certificate() -> None:
    mine, other = ALICE.device.certificate, BRUNO.device.certificate
    code = approval_code(mine)
    assert re.fullmatch(r"[A-Z2-7]{4}(-[A-Z2-7]{4}){3}", code)
    assert matches(code, mine)
    assert not matches(code, other)


def test_a_code_survives_typing() -> None:
    mine = ALICE.device.certificate
    code = approval_code(mine)
    for typed in (code.lower(), code.replace("-", " "), code.replace("-", ""), f"  {code}\t"):
        assert matches(typed, mine)
    assert read_code("0000-1111-8888-aaaa") == "OOOO-IIII-BBBB-AAAA"


@pytest.mark.parametrize(
    "typed", ["", "ABCD", "ABCD-EFGH-IJKL-MNO", "ABCD-EFGH-IJKL-MNO9", "é" * 16]
)
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(Malformed):
        matches(typed, ALICE.device.certificate)


@given(st.text(max_size=24))
def test_any_text_is_a_code_or_malformed(typed: str) -> None:
    with suppress(Malformed):
        assert len(read_code(typed)) == 19


def test_an_invitation_carries_the_genesis_from_one_screen_to_the_other() -> None:
    genesis = bytes(range(32))
    shown = link.invitation("K7PQR-2MWXY", genesis)
    code, proof = link.read_invitation(f"  {shown.lower().replace('-', ' ')} ")
    assert code.upper() == "K7PQR2MWXY"
    assert proof == link.genesis_code(genesis)
    assert link.genesis_code(bytes(32)) != proof


@pytest.mark.parametrize("typed", ["", "K7PQR-2MWXY", link.genesis_code(bytes(32))])
def test_what_is_too_short_to_be_an_invitation(typed: str) -> None:
    with pytest.raises(Malformed):
        link.read_invitation(typed)
