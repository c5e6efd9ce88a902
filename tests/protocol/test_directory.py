import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol import limits
from miss_protocol.directory import (
    EVERYDAY,
    Entry,
    Place,
    SearchPage,
    Source,
    everyday_words,
    normalise,
    place_words,
    query_words,
)
from miss_protocol.errors import Code, Malformed, Refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LEFÉVÈRE-DESPRÉ", ["lefevere", "despre"]),
        ("d’Haëne", ["d", "haene"]),
        ("L'Haÿ-les-Roses", ["l", "hay", "les", "roses"]),
        ("Marcq-en-Barœul", ["marcq", "en", "baroeul"]),
        ("Ægidius Søren Łukasz", ["aegidius", "soren", "lukasz"]),
        ("Straße", ["strasse"]),
        ("ﬁn Ⅳ", ["fin", "iv"]),
        ("e\u0301te\u0301", ["ete"]),
        ("  59000\tLILLE; (Nord) ", ["59000", "lille", "nord"]),
        ("İstanbul ıssız", ["istanbul", "issiz"]),
        ("Dʼarc", ["d", "arc"]),
        ("Παύλος 北京", ["παυλοσ", "北京"]),
        ("", []),
        ("--- ' ’ _ *", []),
    ],
)
def test_words_are_folded_and_split(text: str, words: list[str]) -> None:
    assert list(normalise(text)) == words


@given(st.text())
def test_folding_is_stable_and_leaves_only_letters_and_digits(text: str) -> None:
    words = normalise(text)
    assert normalise(" ".join(words)) == words
    assert all(character.isalnum() for word in words for character in word)
    assert normalise(text.upper().lower()) == normalise(text.upper())


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_folds_the_same_with_and_without_an_accent_beside_it(text: str) -> None:
    assert (*normalise(text), "e") == normalise(f"{text} é")


@pytest.mark.parametrize(
    ("label", "typed"),
    [
        ("Cardiologie et maladies vasculaires", "cardiologue"),
        ("Masseur-kinésithérapeute", "kiné"),
        ("Médecine Générale", "généraliste"),
        ("Qualifié en Médecine Générale", "généraliste"),
        ("Infirmier", "infirmière"),
        ("Infirmier", "IDE"),
        ("Pharmacien", "pharmacie"),
        ("Sage-femme", "maïeuticienne"),
        ("Oto-rhino-laryngologie", "ORL"),
    ],
)
def test_a_label_is_found_by_its_everyday_name(label: str, typed: str) -> None:
    assert normalise(typed)[0] in everyday_words(label)


def test_everyday_names_are_of_whole_words() -> None:
    assert "orl" not in everyday_words("Biologie")
    # "chirurgien" must not lend a dentist the surgeon's everyday names
    assert "chirurgienne" not in everyday_words("Chirurgien")
    assert everyday_words("Éleveur de vers à soie") == ()


def test_every_everyday_name_is_reachable() -> None:
    for label, words in EVERYDAY:
        assert set(normalise(words)) <= set(everyday_words(label)), label


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Saint-Omer", "st"),
        ("ST OMER", "saint"),
        ("STE-MARIE", "sainte"),
        ("Sainte-Marie", "ste"),
        ("Centre Hospitalier de P.", "ch"),
        ("Lille", "lille"),
    ],
)
def test_a_place_is_found_by_its_abbreviation_and_its_long_form(name: str, typed: str) -> None:
    assert typed in place_words(name)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("cardio lille", ["cardio", "lille"]),
        ("Dr Martin d'Ascq", ["martin", "ascq"]),
        ("Le Goff", ["goff"]),
        ("le", ["le"]),
        ("de la", ["de", "la"]),
        ("martin p", ["martin"]),
        ("lille LILLE Lillé", ["lille"]),
        ('" OR 1=1 -- NEAR(a b) *', ["or", "near"]),
        ("", []),
        ("x", []),
        ("?!… ---", []),
    ],
)
def test_a_query_keeps_the_words_that_tell(query: str, words: list[str]) -> None:
    assert list(query_words(query)) == words


@pytest.mark.parametrize("query", ["a\x00b", "\x1b[2J", "lille\n", "x\x85y", "\ud800"])
def test_a_query_with_control_characters_is_malformed(query: str) -> None:
    with pytest.raises(Malformed):
        query_words(query)


@pytest.mark.parametrize(
    "query",
    [
        "é" * (limits.QUERY_MAX // 2 + 1),
        "x" * 10_240,
        " ".join(f"mot{n}" for n in range(limits.QUERY_WORDS_MAX + 1)),
        "\ud800" * limits.QUERY_MAX,
    ],
)
def test_a_query_that_is_too_long_is_refused(query: str) -> None:
    with pytest.raises(Refused) as refusal:
        query_words(query)
    assert refusal.value.code is Code.TOO_LARGE


def test_the_longest_query_is_accepted() -> None:
    assert query_words("x" * limits.QUERY_MAX)
    words = [f"mot{n}" for n in range(limits.QUERY_WORDS_MAX)]
    assert query_words(" ".join(words)) == tuple(words)


@given(st.text())
def test_any_query_is_words_or_a_documented_error(query: str) -> None:
    try:
        words = query_words(query)
    except (Malformed, Refused):
        return
    assert all(len(word) > 1 and word.isalnum() for word in words)


def test_a_page_goes_through_json_and_tells_nothing_empty() -> None:
    entry = Entry("89800000000", "person", "DURANDEAU", places=(Place(city="Lille"),))
    page = SearchPage((entry,), "abc", "2026-01-05", (Source("RPPS", "2026-01-05"),))
    encoded = msgspec.json.encode(page)
    assert json.loads(encoded) == {
        "entries": [
            {
                "person": "89800000000",
                "kind": "person",
                "name": "DURANDEAU",
                "places": [{"city": "Lille"}],
            }
        ],
        "next": "abc",
        "data_date": "2026-01-05",
        "sources": [{"name": "RPPS", "date": "2026-01-05"}],
    }
    assert msgspec.json.decode(encoded, type=SearchPage) == page


def test_a_page_of_a_newer_server_is_read() -> None:
    body = b'{"person":"1","kind":"person","name":"A","reach":"mailbox","distance":12}'
    assert msgspec.json.decode(body, type=Entry).reach == "mailbox"
