"""What every engine promises of the directory: a misspelt query finds whom it means."""

import pytest

from miss_protocol.filters import Filters
from miss_server.storage.schema import settings
from miss_server.storage.sql import repairs
from tests.support.devices import NOW
from tests.support.register import activity
from tests.support.searching import CARDIOLOGIST, LONG_AGO, NURSE, Bench

MARTIN = activity(
    3,
    name="MARTIN",
    given="Philippe",
    speciality="Cardiologie et maladies vasculaires",
    city="Tourcoing",
    postcode="59200",
)


@pytest.mark.parametrize(
    ("query", "understood"),
    [
        ("dr martn cardio tourcoing", "martin cardio tourcoing"),
        ("marrtin tourcoing", "martin tourcoing"),
        ("mratin tourcoing", "martin tourcoing"),
        ("mertin tourcoing", "martin tourcoing"),
        ("nartin tourcoing", "martin tourcoing"),
        ("artin tourcoing", "martin tourcoing"),
        ("martin tourcoin", ""),  # a beginning
        ("martin turcoing", "martin tourcoing"),
        ("martin tourcoigng", "martin tourcoing"),
        ("martin tourcooign", "martin tourcoing"),  # two slips
        ("martin cadriologue", "martin cardiologue"),
        ("martin kardiolog", "martin cardiolog"),
        ("filip martin", "philippe martin"),
        ("phillipe martin", "philippe martin"),
        ("martn filipe turcoing", "martin philippe tourcoing"),
        ("59200 martn", "59200 martin"),
        ("vn martin", "martin"),
        ("martin phi tourcoing", ""),  # three letters that begin a word
        ("martin phl tourcoing", "martin phi tourcoing"),
        ("martin xqz tourcoing", "martin tourcoing"),  # three that mean nothing
    ],
)
def test_a_misspelt_query_finds_whom_it_means(bench: Bench, query: str, understood: str) -> None:
    bench.load(CARDIOLOGIST, NURSE, MARTIN)
    page = bench.page(query)
    assert [entry.name for entry in page.entries][:1] == ["MARTIN"]
    assert " ".join(page.repaired) == understood
    assert page.entries[0].repaired is bool(understood)


@pytest.mark.parametrize(
    "query",
    [
        "mrt",  # too short to guess
        "59201 martin",  # a number is not guessed
        "mxrtyn tourcoing",
        "martin tourcoing zzzzz",
        "9999 martn",
        "x" * 30,
        "北京北京",
        "hhhh",
        "hhhhh lille",
        "lille hhhhhhhh",
    ],
)
def test_what_is_like_nothing_finds_nobody(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST, NURSE, MARTIN)
    page = bench.page(query)
    assert (page.entries, page.repaired, page.next) == ((), (), None)


def test_three_letters_that_begin_nothing_lack_one(bench: Bench) -> None:
    bench.load(NURSE, activity(7, name="D'HAËNE", city="Saint-Martin"))
    for query in ("dhaene saint omr", "omr saint dhaene", "dhaene saint omr infirmier"):
        page = bench.page(query)
        assert page.entries[0].places[0].city == "Saint-Omer"  # then omnipraticiens of Saint-Martin
        assert "omer" in page.repaired
    assert bench.page("omr").entries == ()  # by itself it could be anything


def test_at_last_short_words_are_left_out_as_long_as_two_remain(bench: Bench) -> None:
    bench.load(NURSE, MARTIN, activity(7, name="ABEL", city="Lille"))
    for query in ("martn ab tourcoing", "martin abe tourcoing"):
        page = bench.page(query)
        assert [entry.name for entry in page.entries] == ["MARTIN"]
        assert page.repaired == ("martin", "tourcoing")
    for query in ("ab martn", "abe turcoing"):
        assert bench.page(query).entries == ()
    # Nor where somebody bears every word as it was typed: without the short one it would be half a town.
    bench.load(NURSE, MARTIN, activity(7, name="ABEL", given="Martin", city="Tourcoing"))
    assert bench.names("martin abe tourcoing") == ["ABEL"]


def test_those_spelt_so_come_before_those_spelt_nearly_so(bench: Bench) -> None:
    names = ["DURANT", "DURAND", "DURANTON", "DUHANT", "MURAND", "ZOLA"]
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    bench.join(3, NOW)
    bench.join(4, NOW)
    page = bench.page("durant lille")
    assert [entry.name for entry in page.entries] == [
        "DURANT",
        "DURANTON",
        "DURAND",  # heard alike
        "DUHANT",
    ]
    assert [entry.repaired for entry in page.entries] == [False, False, True, True]
    assert page.repaired == ("durand", "lille")
    assert bench.names("durand lille") == ["DURAND", "DURANT", "MURAND", "DURANTON"]


def test_of_equals_the_reachable_come_first(bench: Bench) -> None:
    names = ["BERTON", "BERTIN", "BERTAN", "BERTUN"]
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    bench.join(0, LONG_AGO)
    bench.join(3, NOW)
    assert bench.names("bertxn") == ["BERTUN", "BERTON", "BERTAN", "BERTIN"]
    assert bench.names("bertxn", filters=Filters(reach="dormant")) == ["BERTUN", "BERTON"]
    assert bench.names("bertxn", filters=Filters(reach="miss")) == ["BERTUN"]


def test_of_equals_those_come_first_whom_one_knows(bench: Bench) -> None:
    names = ["BERTAN", "BERTEN", "BERTIN", "BERTON", "BERTUN", "BERTYN"]
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    mine = bench.join(9, NOW)
    accounts = [bench.join(n, LONG_AGO if n in (1, 4) else NOW) for n in range(1, 6)]
    for known in (accounts[2], accounts[3]):  # BERTON and BERTUN
        bench.relate(mine, known, accepted_ms=NOW)
    assert bench.names("bertxn", account=mine) == [
        *("BERTON", "BERTIN", "BERTYN"),
        *("BERTUN", "BERTEN", "BERTAN"),
    ]
    for limit in (1, 4):
        assert bench.pages("bertxn", limit, account=mine) == bench.names("bertxn", account=mine)


def test_who_can_be_written_to_is_found_behind_any_number_of_names(bench: Bench) -> None:
    many = [activity(n, name="BERTON", given=f"Anne{n}") for n in range(repairs.COMPARED_MAX + 5)]
    bench.load(*many, activity(1_000, name="BERTON", given="Zoé"))
    bench.join(1_000, NOW)
    found = bench.page("bertxn").entries
    assert (found[0].given, found[0].reach) == ("Zoé", "miss")
    assert {entry.reach for entry in found[1:]} == {"none"}


def test_of_equals_those_come_first_whose_name_was_meant(bench: Bench) -> None:
    names = ["ABEL", "BERTON-LAVAL", "DE BERTON", "LAVAL", "PAUL"]
    cities = ["Berton", "Lille", "Berton", "Berton", "Berton"]
    who = [activity(n, name=name, city=cities[n]) for n, name in enumerate(names)]
    bench.load(*who)
    # The whole name, then a word of it, then whatever else bears it; each by name.
    assert bench.names("bertxn") == ["BERTON-LAVAL", "DE BERTON", "ABEL", "LAVAL", "PAUL"]
    assert bench.names("de bertxn") == ["DE BERTON", "BERTON-LAVAL", "ABEL", "LAVAL", "PAUL"]
    assert bench.names("bertxn laval") == ["BERTON-LAVAL", "LAVAL"]
    bench.join(4, NOW)
    assert bench.names("de bertxn")[0] == "PAUL"


def test_enough_that_is_spelt_so_is_enough(bench: Bench) -> None:
    bench.load(*(activity(n, name="DURAND") for n in range(5)), activity(9, name="DURANT"))
    page = bench.page("durand")
    assert len(page.entries) == 5
    assert page.repaired == ()


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_pages_go_on_through_what_was_repaired(bench: Bench, limit: int) -> None:
    names = ["DURANT", "DURAND", "DURANTON", "DUHANT", "MURANT", "DURAN", "BURANT"]
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    bench.join(5, NOW)
    whole = bench.names("durant", limit=50)
    assert len(whole) == 7
    assert bench.pages("durant", limit) == whole


def test_a_cursor_goes_on_behind_a_person_in_a_new_directory(bench: Bench) -> None:
    names = ["BERTON", "BERTIN", "BERTAN"]
    people = [activity(n, name=name) for n, name in enumerate(names)]
    bench.load(*people)
    page = bench.page("bertxn", limit=1)
    assert [entry.name for entry in page.entries] == ["BERTAN"]
    bench.load(*people, activity(7, name="AARON"))
    assert bench.names("bertxn", cursor=page.next) == ["BERTIN", "BERTON"]
    other = bench.page("lille", limit=1)
    assert bench.names("bertxn", cursor=other.next) == ["BERTAN", "BERTIN", "BERTON"]


def test_the_vocabulary_follows_the_differences(bench: Bench) -> None:
    bench.load(CARDIOLOGIST, MARTIN)
    bench.load(CARDIOLOGIST, MARTIN, NURSE)
    bench.load(CARDIOLOGIST, MARTIN, NURSE, activity(7, name="QUESNIMONT"))
    assert bench.names("quesnimnt") == ["QUESNIMONT"]
    assert bench.names("haenne st omer") == ["D'HAËNE"]
    bench.load(CARDIOLOGIST)
    assert bench.names("quesnimnt") == []
    assert bench.names("martn") == []


def test_on_the_schema_before_nothing_is_repaired(bench: Bench) -> None:
    """Nodes of this version and of the one before serve it together, until `db upgrade`."""
    bench.load(CARDIOLOGIST, MARTIN)
    account = bench.join(3, NOW)

    def older(value: bytes) -> None:
        bench.shelf.write(
            lambda on: on.execute(
                settings.update().where(settings.c.name == "schema").values(value=value)
            )
        )

    older(b"1")
    assert bench.names("martn") == []
    assert [entry.reach for entry in bench.page("martin", account=account).entries] == ["miss"]
    bench.load(CARDIOLOGIST, NURSE)
    assert bench.names("haene") == ["D'HAËNE"]
    older(b"2")
    bench.load(CARDIOLOGIST, NURSE, MARTIN)
    assert bench.names("martn") == ["MARTIN"]
