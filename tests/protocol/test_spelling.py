import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol import spelling
from miss_protocol.spelling import edits, repair_cost, repairable, slips, sound

words = st.text(string.ascii_lowercase, max_size=12)
short = st.text("abc", max_size=6)


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("philippe", "filip"),
        ("thibault", "tibaud"),
        ("lefevre", "lefaivre"),
        ("dupond", "dupont"),
        ("martinez", "martines"),
        ("mathieu", "matthieu"),
        ("cardiologue", "kardiologue"),
        ("quesnimont", "kesnimon"),
        ("yvain", "ivain"),
        ("cecile", "sessile"),
        ("wagner", "vagner"),
        ("baroeul", "bareul"),
        ("gerard", "jerard"),
        ("campagne", "canpagne"),
        ("moreau", "moro"),
    ],
)
def test_what_is_heard_alike_has_one_sound(written: str, other: str) -> None:
    assert sound(written) == sound(other)


@pytest.mark.parametrize(("written", "other"), [("martin", "marton"), ("lille", "lens")])
def test_what_is_heard_apart_has_two(written: str, other: str) -> None:
    assert sound(written) != sound(other)


@given(words)
def test_a_sound_is_letters_and_not_longer_than_twice_the_word(word: str) -> None:
    assert len(sound(word)) <= 2 * len(word)
    assert set(sound(word)) <= set(string.ascii_lowercase)


def test_the_edits_of_a_word_are_those_of_one_slip() -> None:
    found = edits("ab")
    assert {"a", "b", "ba", "xb", "ax", "xab", "axb", "abx"} <= found
    assert len(found) == 2 + 1 + 2 * 25 + 3 * 26 - 2
    assert "ab" not in found
    assert edits("") == set(string.ascii_lowercase)


@given(words)
def test_every_edit_is_one_slip_away(word: str) -> None:
    assert all(slips(word, other) == 1 for other in edits(word))


@given(short, short)
def test_slips_are_what_edits_of_edits_reach(one: str, other: str) -> None:
    count = slips(one, other)
    assert count == slips(other, one)
    assert (count == 0) is (one == other)
    assert (count == 1) is (other in edits(one))
    if count == 2:
        assert edits(one) & edits(other)


@pytest.mark.parametrize(
    ("typed", "meant", "count"),
    [
        ("martin", "martin", 0),
        ("martn", "martin", 1),
        ("mratin", "martin", 1),
        ("tourcooign", "tourcoing", 2),
        ("mxrtyn", "martin", 2),
        ("abcd", "dcba", 3),
        ("a", "abcd", 3),
        ("abcdefgh", "stuvwxyz", 3),
    ],
)
def test_slips_are_counted(typed: str, meant: str, count: int) -> None:
    assert slips(typed, meant) == count


def test_what_is_heard_alike_costs_least_and_a_wrong_beginning_more() -> None:
    assert repair_cost("durant", "durand", 1) < repair_cost("durant", "durans", 1) + 1
    assert repair_cost("martn", "martin", 1) == spelling.ONE_SLIP
    assert repair_cost("nartin", "martin", 1) == spelling.ONE_SLIP + spelling.WRONG_BEGINNING
    assert repair_cost("filip", "philippe", 2) < spelling.TWO_SLIPS
    assert repair_cost("tourcooign", "tourcoing", 2) == spelling.TWO_SLIPS


@pytest.mark.parametrize(
    ("word", "whether"),
    [
        ("mart", True),
        ("mar", True),
        ("ma", False),
        ("59200", False),
        ("a" * 25, False),
        ("mart1n", False),
    ],
)
def test_only_words_of_letters_are_repaired(word: str, whether: bool) -> None:
    assert repairable(word) is whether
