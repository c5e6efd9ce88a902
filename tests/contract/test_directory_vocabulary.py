"""What every engine promises of a directory's words: a search that asks for those that exist finds whom one for
beginnings finds."""

import pytest
from sqlalchemy import Connection, delete, func, select

from miss_server.importers.importing import Allowed, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory_tables import entries
from miss_server.storage.search_tables import vocabulary
from miss_server.storage.sql.vocabulary import LISTED_MAX, WHOLE, WORD_MAX
from tests.support import register
from tests.support.devices import NOW
from tests.support.register import STAMPED, activity
from tests.support.searching import CARDIOLOGIST, NURSE, Bench

SYLLABLES = ("MAR", "TIN", "LE", "GO", "DU", "PONT", "BER", "THON")
MANY = [
    activity(
        n,
        name=SYLLABLES[n % 8] + SYLLABLES[n // 8 % 8],
        given=SYLLABLES[n // 3 % 8].title(),
        city=("Lille", "Lens", "Saint-Omer")[n % 3],
        postcode=f"59{n:03}",
        organisation=f"Cabinet {n} des {n}Ponts",
    )
    for n in range(10, 130)
]


def _without_the_mark(bench: Bench) -> None:
    """As a version wrote it that did not keep every word."""

    def forget(connection: Connection) -> None:
        for table in vocabulary:
            connection.execute(delete(table).where(table.c.word == WHOLE[0]))

    bench.shelf.write(forget)


def _marks(bench: Bench) -> int:
    def count(connection: Connection) -> int:
        return sum(
            connection.execute(
                select(func.count()).select_from(table).where(table.c.word == WHOLE[0])
            ).scalar_one()
            for table in vocabulary
        )

    return bench.shelf.read(count)


def test_words_that_exist_find_whom_their_beginnings_find(bench: Bench) -> None:
    bench.load(*MANY, CARDIOLOGIST, NURSE)
    bench.join(40, 1)
    queries = [
        *("mar", "martin", "tinle lille", "le", "du du", "59", "590", "59042 lens", "42ponts"),
        *("cabinet 5", "1 cab", "med lille mar", "d haene", "infirmier", "cardio", "nobody"),
        *("martni", "tinmra lile", "bertohn lens", "xx mar", "0590", "62500 haene", "12"),
    ]
    found = [bench.page(query, limit=50) for query in queries]
    assert sum(bool(page.entries) for page in found) == 19
    _without_the_mark(bench)
    assert [bench.page(query, limit=50) for query in queries] == found


def test_more_words_of_a_beginning_than_are_asked_for(bench: Bench) -> None:
    count = LISTED_MAX + 10
    names = sorted(f"ZO{chr(65 + n % 2)}{chr(65 + n // 2)}BA" for n in range(count))
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    assert bench.pages("zo", 50) == names  # too many
    assert bench.pages("zob lille", 50) == names[count // 2 :]  # few enough


@pytest.mark.parametrize("letters", [WORD_MAX - 1, WORD_MAX, WORD_MAX + 1, 300])
def test_a_word_longer_than_any_is_kept(bench: Bench, letters: int) -> None:
    name = "Q" * letters
    bench.load(activity(3, name=name), CARDIOLOGIST)
    for typed in ("qq", "q" * 40, "q" * 200):
        assert bench.names(typed) == [name]
    assert bench.names("q" * 39 + "r") == []


def test_numbers_and_short_words_are_no_guess(bench: Bench) -> None:
    bench.load(activity(3, name="MARTIN", organisation="Cabinet 4b de l'Ys"), CARDIOLOGIST)
    assert bench.names("4b") == ["MARTIN"]
    assert bench.names("ys 4b") == ["MARTIN"]
    for typed in ("4c", "5990", "yss"):
        assert bench.names(typed) == []


def test_a_directory_whose_words_are_not_all_kept_is_written_anew(bench: Bench) -> None:
    bench.load(CARDIOLOGIST, *MANY)
    bench.load(CARDIOLOGIST, NURSE, *MANY)
    assert _marks(bench) == 2
    _without_the_mark(bench)
    bench.load(CARDIOLOGIST, NURSE, *MANY[:-1])
    assert _marks(bench) == 1
    assert bench.names("59010") == ["LETIN"]
    assert bench.names("haen omer") == ["D'HAËNE"]
    bench.load(CARDIOLOGIST, *MANY)
    assert _marks(bench) == 2


def test_a_new_number_is_found_after_a_day_of_differences(bench: Bench) -> None:
    bench.load(CARDIOLOGIST, *MANY)
    bench.load(CARDIOLOGIST, *MANY)
    bench.load(CARDIOLOGIST, *MANY, activity(7, name="AARON", postcode="99999"))
    assert bench.names("99999") == ["AARON"]
    assert bench.names("aar 9999") == ["AARON"]
    assert _marks(bench) == 2


def test_a_dry_run_leaves_a_directory_that_must_be_written_anew(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    bench.load(CARDIOLOGIST, NURSE)
    _without_the_mark(bench)

    def counted(connection: Connection) -> list[int]:
        return [
            connection.execute(select(func.count()).select_from(slot)).scalar_one()
            for slot in entries
        ]

    before = bench.shelf.read(counted)
    file = register.write(bench.folder / STAMPED, CARDIOLOGIST)
    bench.shelf.fill(
        lambda target: run_import(
            readers(file), target, now_ms=NOW, allowed=Allowed(gone=1), dry_run=True
        )
    )
    assert bench.shelf.read(counted) == before == [2, 1]
