"""What every engine promises of the directory: searching it by words."""

import msgspec
import pytest

from miss_protocol.directory import SearchPage, Source
from miss_server.storage.directory import oldest
from miss_server.storage.geography import SOURCE as COMMUNES
from tests.support.register import STAMPED_DATE, rpps
from tests.support.searching import CARDIOLOGIST, NURSE, Bench


@pytest.mark.parametrize(
    "query",
    [
        "lefevere",
        "LEFÉVÈRE",
        "lefevere-despre",
        "despré lefévère",
        "Gaëtan Lefévère",
        "gaet lef",
        "cardio lille",
        "lille cardiologue",
        "Dr Lefevere cardiologue à Lille",
        "lef 59",
        "lef nord",
        "lef 59000",
        "beffroi card",
        "médecin lef",
        "lefeveredespre",
    ],
)
def test_a_person_is_found_by_half_remembered_words(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST, NURSE)
    assert bench.names(query) == ["LEFÉVÈRE-DESPRÉ"]


@pytest.mark.parametrize(
    "query",
    [
        "dhaene",
        "d'haëne",
        "haene marie",
        "infirmière st omer",
        "ide 62",
        "saint-omer",
        "trois ponts",
    ],
)
def test_elisions_everyday_names_and_abbreviations_find(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST, NURSE)
    assert bench.names(query) == ["D'HAËNE"]


@pytest.mark.parametrize("query", ["lefevere saint-omer", "spre", "evere", "zzz"])
def test_every_word_must_begin_a_word_of_the_entry(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST, NURSE)
    assert bench.names(query) == []


def test_an_entry_is_shown_whole_with_the_date_of_its_source(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    page = bench.page("lef")
    assert (page.data_date, page.sources) == (STAMPED_DATE, (Source("RPPS", STAMPED_DATE),))
    (entry,) = page.entries
    assert entry.person == "8" + rpps(1)
    assert (entry.title, entry.given, entry.profession) == ("Docteur", "Gaëtan", "Médecin")
    assert entry.specialities == ("Cardiologie et maladies vasculaires",)
    assert entry.places[0].city == "Lille"
    assert (entry.reach, entry.account, entry.sources) == ("none", None, ("RPPS",))
    dated = (Source("RPPS", STAMPED_DATE),)
    assert bench.entry(entry.person) == msgspec.structs.replace(entry, dated=dated)
    assert bench.entry("8" + rpps(9)) is None


def test_before_the_first_import_nobody_is_found(bench: Bench) -> None:
    assert bench.page("lille") == SearchPage((), None, "", ())
    assert bench.entry("8" + rpps(1)) is None
    assert bench.files() == []
    assert bench.shelf.read(bench.shelf.directory.sources) == ()


def test_sources_are_listed_each_once_and_the_oldest_counts(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    found = bench.shelf.read(bench.shelf.directory.sources)
    assert found == (Source("RPPS", STAMPED_DATE),)
    older = Source("MSSANTE", "2025-12-31")
    assert oldest([*found, older, Source(COMMUNES, "2020-01-01")]) == older.date
    assert oldest([]) == ""
