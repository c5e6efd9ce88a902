"""What every engine promises of the directory: searching it, and replacing it as a whole."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from miss_protocol import limits
from miss_protocol.directory import Entry, SearchPage, Source, normalise
from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.ids import AccountAddress, new_address
from miss_server.importers.importing import Allowed, Report, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, ImportedFile
from miss_server.storage.schema import accounts, devices
from miss_server.storage.sql.directory import generation
from tests.support import register, sources
from tests.support.devices import DAY_MS, DOMAIN, NOW
from tests.support.directories import PostgresShelf, Shelf, SqliteShelf
from tests.support.postgres import PostgresProcess
from tests.support.register import STAMPED, STAMPED_DATE, activity, rpps
from tests.support.sources import establishment, finess, mailbox

LONG_AGO = NOW - limits.DORMANT_AFTER * 1000 - 1


class Died(BaseException):
    """The import's process is gone; not an `Exception`, so that nothing handles it."""


@dataclass
class Bench:
    """A database with a directory, and a folder for files to load."""

    shelf: Shelf
    folder: Path

    def load(self, *activities: dict[str, str], gone_share: float = 1.0) -> Report:
        file = register.write(self.folder / STAMPED, *activities)

        def work(target: DirectoryFilling) -> Report:
            allowed = Allowed(gone=gone_share)
            return run_import(readers(file), target, now_ms=NOW, allowed=allowed)

        return self.shelf.fill(work)

    def join(
        self, serial: int, *seen: int, revoked: bool = False, suspended: bool = False
    ) -> AccountAddress:
        """Open an account for a person, with a device for each time in `seen`."""
        address = new_address(os.urandom(16), DOMAIN)

        def write(connection: Connection) -> None:
            connection.execute(
                accounts.insert().values(
                    address=address,
                    person="8" + rpps(serial),
                    name="",
                    genesis=bytes(32) if seen else None,
                    suspended=suspended,
                    created_ms=NOW,
                )
            )
            for seen_ms in seen:
                connection.execute(
                    devices.insert().values(
                        id=os.urandom(16),
                        account=address,
                        signing_key=bytes(32),
                        created_ms=0,
                        seen_ms=seen_ms,
                        revoked_ms=NOW if revoked else None,
                        epoch=bytes(16),
                    )
                )

        self.shelf.write(write)
        return address

    def entry(self, person: str) -> Entry | None:
        return self.shelf.read(lambda on: self.shelf.directory.entry(on, person, now_ms=NOW))

    def files(self) -> list[ImportedFile]:
        return self.shelf.read(self.shelf.directory.files)

    def page(self, query: str, **more: Any) -> SearchPage:
        return self.shelf.read(
            lambda on: self.shelf.directory.search(on, query, now_ms=NOW, **more)
        )

    def names(self, query: str, **more: Any) -> list[str]:
        return [entry.name for entry in self.page(query, **more).entries]

    def pages(self, query: str, limit: int) -> list[str]:
        found, cursor = [], None
        while True:
            page = self.page(query, limit=limit, cursor=cursor)
            assert len(page.entries) <= limit
            found += [entry.name for entry in page.entries]
            cursor = page.next
            if cursor is None:
                return found


@pytest.fixture(scope="module")
def postgres_shelf(postgres: PostgresProcess) -> Iterator[PostgresShelf]:
    """A database for all tests of this file, since making one takes long; `cleared` for each."""
    shelf = PostgresShelf(postgres)
    yield shelf
    shelf.close()


# The second looks accounts up first, as for a query with thousands of matches.
@pytest.fixture(params=["sqlite, few matches", "sqlite, many matches", "postgresql"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "postgresql":
        postgres: PostgresShelf = request.getfixturevalue("postgres_shelf")
        postgres.clear()
        yield Bench(postgres, tmp_path)
        return
    sqlite = SqliteShelf(tmp_path / "miss.sqlite", 0 if "many" in request.param else 2000)
    yield Bench(sqlite, tmp_path)
    sqlite.close()


CARDIOLOGIST = activity(
    1, name="LEFÉVÈRE-DESPRÉ", given="Gaëtan", speciality="Cardiologie et maladies vasculaires"
)
NURSE = activity(
    2,
    name="D'HAËNE",
    given="Marie-Noëlle",
    title="",
    profession="Infirmier",
    profession_code="60",
    speciality="",
    city="Saint-Omer",
    postcode="62500",
    department="Pas-de-Calais",
    department_code="62",
    organisation="Cabinet infirmier des Trois-Ponts",
)


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


@pytest.mark.parametrize("query", ["lefevere saint-omer", "despreux", "evere", "zzz"])
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


# --- Reach ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "state", "reach"),
    [
        ([NOW - DAY_MS], {}, "miss"),
        ([LONG_AGO + 1], {}, "miss"),
        ([LONG_AGO], {}, "dormant"),
        ([LONG_AGO, NOW], {}, "miss"),
        ([], {}, "none"),
        ([NOW], {"revoked": True}, "none"),
        ([NOW], {"suspended": True}, "none"),
    ],
)
def test_reach_is_told_honestly(
    bench: Bench, seen: list[int], state: dict[str, bool], reach: str
) -> None:
    bench.load(CARDIOLOGIST)
    address = bench.join(1, *seen, **state)
    (entry,) = bench.page("lef").entries
    assert entry.reach == reach
    assert entry.account == (None if reach == "none" else address)
    alone = bench.entry(entry.person)
    assert alone is not None
    assert (alone.reach, alone.account) == (entry.reach, entry.account)


def test_entries_are_found_by_account(bench: Bench) -> None:
    bench.load(CARDIOLOGIST, NURSE)
    first, unused = bench.join(1, NOW), bench.join(3, NOW)
    suspended = bench.join(2, NOW, suspended=True)
    stranger = new_address(os.urandom(16), DOMAIN)
    asked = [first, unused, suspended, stranger]
    look_up = bench.shelf.directory.by_account
    found = bench.shelf.read(lambda on: look_up(on, asked, now_ms=NOW))
    assert {address: entry.name for address, entry in found.items()} == {
        first: "LEFÉVÈRE-DESPRÉ",
        suspended: "D'HAËNE",
    }
    assert bench.shelf.read(lambda on: look_up(on, [], now_ms=NOW)) == {}


# --- Ranking and pages -----------------------------------------------------------------------------


def crowd(bench: Bench) -> list[str]:
    """Seven people that "martel" finds, in the order in which they must come."""
    people = {
        1: ("MARTELIN", "Anne"),
        2: ("MARTEL", "Paul"),
        3: ("MARTEL", "Anne"),
        4: ("AUBERT", "Martel"),
        5: ("MARTELIN", "Zoé"),
        6: ("MARTEL", "Zoé"),
        7: ("ZELLER", "Martel"),
        8: ("DUPRÉ", "Anne"),
    }
    bench.load(*(activity(n, name=name, given=given) for n, (name, given) in people.items()))
    bench.join(7, NOW)
    bench.join(6, NOW)
    bench.join(5, LONG_AGO, LONG_AGO)
    bench.join(2, LONG_AGO)
    bench.join(8, NOW)
    return ["MARTEL Zoé", "ZELLER Martel", "MARTEL Paul", "MARTELIN Zoé", "MARTEL Anne",
            "AUBERT Martel", "MARTELIN Anne"]  # fmt: skip


def test_reachable_people_come_first_then_exact_names_then_by_name(bench: Bench) -> None:
    expected = crowd(bench)
    found = [f"{entry.name} {entry.given}" for entry in bench.page("martel").entries]
    assert found == expected


@pytest.mark.parametrize("query", ["durand du pont", "du pont durand", "Dr Du Pont"])
def test_a_name_of_several_words_is_exact_when_all_are_typed(bench: Bench, query: str) -> None:
    bench.load(
        activity(1, name="DU PONT", given="Durand"),
        activity(2, name="ABEL-DU-PONTHIEU", given="Durand"),
    )
    assert bench.names(query)[0] == "DU PONT"


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 50])
def test_pages_together_are_the_whole_list(bench: Bench, limit: int) -> None:
    expected = [name.split()[0] for name in crowd(bench)]
    assert bench.pages("martel", limit) == expected


def test_a_page_is_never_longer_than_the_limit_of_pages(bench: Bench) -> None:
    bench.load(*(activity(n) for n in range(limits.PAGE_MAX + 5)))
    page = bench.page("lille", limit=10_000)
    assert len(page.entries) == limits.PAGE_MAX
    assert page.next is not None
    assert len(bench.page("lille").entries) == limits.PAGE_DEFAULT


def test_pages_go_on_over_a_new_directory(bench: Bench) -> None:
    people = [activity(n, name=name) for n, name in enumerate(["ABEL", "BEAU", "CARON", "DUVAL"])]
    bench.load(*people)
    page = bench.page("lille", limit=2)
    bench.load(activity(9, name="AARON"), *people[1:])
    assert bench.names("lille", cursor=page.next) == ["CARON", "DUVAL"]


def test_a_cursor_whose_person_left_is_refused(bench: Bench) -> None:
    people = [activity(n, name=name) for n, name in enumerate(["ABEL", "BEAU", "CARON", "DUVAL"])]
    bench.load(*people)
    page = bench.page("lille", limit=2)
    bench.load(people[0], *people[2:])
    with pytest.raises(Refused) as refusal:
        bench.page("lille", cursor=page.next)
    assert refusal.value.code is Code.OUT_OF_PLACE


# --- Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", " ", "x", "é", "?!", "'\"*()", "-" * 200])
def test_a_query_that_says_nothing_finds_nobody(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST)
    assert bench.names(query) == []


@pytest.mark.parametrize(
    "query",
    [
        '"lille" OR "douai"',
        "lille OR douai",
        "lille NOT lef",
        "NEAR(lille nord)",
        "words:lille",
        "lille*",
        "^lille",
        "lille + nord",
        "lille'; DROP TABLE accounts; --",
        "{lille}",
        "lille AND",
        "%",
        "_",
    ],
)
def test_no_operator_reaches_the_engine(bench: Bench, query: str) -> None:
    bench.load(activity(1, name="LILLE", city="Lille"), CARDIOLOGIST)
    words = {"or", "not", "near", "words", "drop", "and"}
    typed = "".join(c if c.isalnum() else " " for c in query.lower()).split()
    expected = bool(typed) and not words & set(typed)
    assert bool(bench.names(query)) is expected


@pytest.mark.parametrize(("query", "error"), [("a\x00b", Malformed), ("x" * 10_240, Refused)])
def test_bad_queries_are_refused(bench: Bench, query: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        bench.page(query)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "é",
        "!!!!",
        "A",
        "AAAA",
        "WzFd",
        "eyJhIjoxfQ",
        "A" * 300,
        "WzAsLTEsMCwiIl0",  # [0,-1,0,""]
        "WzAsNiwwLCIiXQ",  # [0,6,0,""]
        "WzAsMCwtMSwiIl0",  # [0,0,-1,""]
        "WzAsMCw5MjIzMzcyMDM2ODU0Nzc1ODA4LCIiXQ",  # [0,0,2**63,""]
        "WzAsMCwwLCIiLDFd",  # [0,0,0,"",1]
    ],
)
def test_a_cursor_that_is_none_is_malformed(bench: Bench, cursor: str) -> None:
    with pytest.raises(Malformed):
        bench.page("lille", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nobody_is_malformed(bench: Bench, limit: int) -> None:
    with pytest.raises(Malformed):
        bench.page("lille", limit=limit)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("directory")
    shelf: Shelf = SqliteShelf(folder / "miss.sqlite")
    if request.param == "postgresql":
        shelf = PostgresShelf(request.getfixturevalue("postgres"))
    bench = Bench(shelf, folder)
    bench.load(CARDIOLOGIST, NURSE)
    yield bench
    shelf.close()


@settings(deadline=None)
@given(st.text(), st.none() | st.text())
def test_any_query_is_answered_or_refused(shared: Bench, query: str, cursor: str | None) -> None:
    try:
        shared.page(query, cursor=cursor)
    except (Malformed, Refused):
        return


# --- Replacing the directory ----------------------------------------------------------------------


def test_a_report_tells_added_changed_and_gone(bench: Bench) -> None:
    first = bench.load(activity(1), activity(2), activity(3), activity(3, city="Douai"))
    assert (first.people, first.lines, first.added) == (3, 4, 3)
    second = bench.load(activity(2), activity(3, city="Lens"), activity(4))
    assert (second.added, second.changed, second.unchanged, second.gone) == (1, 1, 1, 1)
    third = bench.load(activity(2), activity(3, city="Lens"), activity(4))
    assert (third.added, third.changed, third.unchanged, third.gone) == (0, 0, 3, 0)
    (file,) = bench.files()
    assert (file.name, file.file, file.date, file.activities) == ("RPPS", STAMPED, STAMPED_DATE, 3)


def test_after_many_imports_only_the_last_is_found(bench: Bench) -> None:
    for n in range(5):
        bench.load(activity(n), activity(n + 1))
    assert bench.names("nom") == ["NOM4", "NOM5"]


def test_until_it_is_published_the_old_directory_is_searched(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    file = register.write(bench.folder / "new.txt", NURSE)
    seen: list[Sequence[str]] = []

    def look(text: str, share: float) -> None:
        seen.append(bench.names("lef"))
        seen.append(bench.names("haene"))

    def work(target: DirectoryFilling) -> None:
        report = run_import(
            readers(file), target, now_ms=NOW, allowed=Allowed(gone=1), progress=look
        )
        assert report.gone == 1
        assert seen[::2] == [["LEFÉVÈRE-DESPRÉ"]] * (len(seen) // 2)
        assert seen[1::2] == [[]] * (len(seen) // 2)
        assert len(seen) >= 6
        assert (bench.names("lef"), bench.names("haene")) == ([], ["D'HAËNE"])

    bench.shelf.fill(work)


def test_an_import_that_died_leaves_the_old_one_and_the_next_succeeds(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    file = register.write(bench.folder / "new.txt", *(activity(n) for n in range(1, 400)))

    def die(text: str, share: float) -> None:
        if text == "writing":
            raise Died

    def work(target: DirectoryFilling) -> None:
        run_import(readers(file), target, now_ms=NOW, allowed=Allowed(gone=1), progress=die)

    with pytest.raises(Died):
        bench.shelf.fill(work)
    assert bench.names("lille") == ["LEFÉVÈRE-DESPRÉ"]
    bench.load(NURSE)
    assert bench.names("lille") == []
    assert bench.names("haene") == ["D'HAËNE"]


def test_differences_fit_in_between_in_the_order_of_names(bench: Bench) -> None:
    dice = random.Random(7)
    names = ["AB", "ABEL", "ABEL DU", "BEAU", "CARON", "DUVAL", "ÉLAN", "ZOLA"]
    people = {n: (dice.choice(names), dice.choice("ABC"), "Lille") for n in range(30)}
    for turn in range(7):
        for n in dice.sample(range(40), 8):
            people[n] = (dice.choice(names), dice.choice("ABC"), dice.choice(("Lille", "Lens")))
        for n in dice.sample(sorted(people), 3 if turn else 0):
            del people[n]
        report = bench.load(
            *(
                activity(n, name=name, given=given, city=city)
                for n, (name, given, city) in people.items()
            )
        )
        assert report.people == len(people)
        for city in ("Lille", "Lens"):
            there = [
                (" ".join(normalise(name)), given, "8" + rpps(n))
                for n, (name, given, where) in people.items()
                if where == city
            ]
            found, cursor = [], None
            while True:
                page = bench.page(city, limit=7, cursor=cursor)
                found += [entry.person for entry in page.entries]
                cursor = page.next
                if cursor is None:
                    break
            assert found == [person for *_, person in sorted(there)]


@pytest.mark.parametrize(("setting", "value"), [("ROOM", 1), ("TOGETHER", 0)])
def test_without_room_between_two_all_is_written_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, setting: str, value: int
) -> None:
    monkeypatch.setattr(f"miss_server.storage.sql.directory_filling.{setting}", value)
    people = [activity(n, name=name) for n, name in enumerate(["ABEL", "CARON", "DUVAL", "ZOLA"])]
    bench.load(*people)
    bench.load(*people, activity(8, name="ZZ"))
    report = bench.load(*people, activity(9, name="BEAU"))
    assert (report.added, report.gone, report.unchanged) == (1, 1, 4)
    assert bench.names("lille") == ["ABEL", "BEAU", "CARON", "DUVAL", "ZOLA"]


def test_an_unchanged_file_is_noted_and_nothing_else(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    page = bench.page("lef", limit=1)
    file = register.write(bench.folder / STAMPED.replace("20260105", "20260114"), CARDIOLOGIST)
    bench.shelf.fill(lambda target: run_import(readers(file), target, now_ms=NOW))
    later = bench.page("lef")
    assert later.entries == page.entries
    assert later.sources == (Source("RPPS", "2026-01-14", STAMPED_DATE),)
    in_force = bench.shelf.read(generation)
    assert in_force == 1


def test_organisations_and_mailboxes_are_found(bench: Bench) -> None:
    texts = [
        *readers(register.write(bench.folder / STAMPED, CARDIOLOGIST)),
        *readers(
            sources.write_establishments(
                bench.folder / sources.ESTABLISHMENTS,
                establishment(finess(1), "Centre hospitalier de l'Écluse"),
            )
        ),
        *readers(
            sources.write_mailboxes(
                bench.folder / sources.MAILBOX_STAMPED,
                mailbox("ORG", "c@x.mssante.fr", structure=finess(1), service="Cardiologie"),
                mailbox("PER", "g@x.mssante.fr", national="8" + rpps(1), name="LEFEVERE"),
            )
        ),
    ]
    bench.shelf.fill(lambda target: run_import(texts, target, now_ms=NOW))
    [hospital] = bench.page("ch ecluse lille").entries
    assert (hospital.kind, hospital.reach) == ("organisation", "none")
    found = {entry.name: entry.reach for entry in bench.page("cardio lille").entries}
    assert found == {"Cardiologie": "mailbox", "LEFÉVÈRE-DESPRÉ": "mailbox"}
    bench.join(1, NOW)
    assert bench.page("lefevere").entries[0].reach == "miss"
    alone = bench.entry("1" + finess(1))
    assert alone is not None
    assert [source.name for source in alone.dated] == ["FINESS"]


def communes(bench: Bench, *lines: str, date: str = "20250301") -> Path:
    path = bench.folder / f"communes_{date}.csv"
    header = "code_insee,nom_standard,codes_postaux,latitude_centre,longitude_centre"
    path.write_text("".join(line + "\n" for line in (header, *lines)), encoding="utf-8")
    return path


def load_all(bench: Bench, *paths: Path, **allowed: Any) -> Report:
    texts = [text for path in paths for text in readers(path)]
    return bench.shelf.fill(
        lambda target: run_import(
            texts, target, now_ms=NOW, allowed=Allowed(**{"gone": 1, **allowed})
        )
    )


LILLE = '59350,Lille,"59000, 59800",50.632,3.047'
TOURCOING = "59599,Tourcoing,59200,50.724,3.161"
UNPLACED = "97501,Miquelon-Langlade,97500,,"


def test_communes_say_where_places_are(bench: Bench) -> None:
    people = register.write(
        bench.folder / STAMPED,
        activity(1, city="", postcode="", cedex="59202 TOURCOING CEDEX"),
        activity(2, city="Lille", commune=""),
        activity(3, city="Nuuk", postcode="GL", country="Groenland"),
    )
    report = load_all(bench, people, communes(bench, LILLE, TOURCOING, UNPLACED))
    assert (report.communes, report.placed, report.people) == (3, 2, 3)
    france = bench.shelf.read(bench.shelf.directory.geography)
    assert [one.code for one in france] == ["59350", "59599", "97501"]
    assert france.position("97500") is None
    placed = []
    for serial in (1, 2, 3):
        entry = bench.entry("8" + rpps(serial))
        assert entry is not None
        placed.append((entry.places[0].commune, france.place(entry.places[0])))
    assert placed == [("59599", (50.724, 3.161)), ("59350", (50.632, 3.047)), ("", None)]
    assert bench.names("tourcoing") == ["NOM1"]
    # A table of communes of last year makes no register old.
    page = bench.page("nom1")
    assert page.data_date == STAMPED_DATE
    assert page.sources == (Source("COMMUNES", "2025-03-01"), Source("RPPS", STAMPED_DATE))


def test_another_table_of_communes_takes_the_place_of_the_first(bench: Bench) -> None:
    people = register.write(bench.folder / STAMPED, CARDIOLOGIST)
    load_all(bench, people, communes(bench, LILLE, TOURCOING))
    before = bench.shelf.read(bench.shelf.directory.geography)
    again = bench.shelf.read(bench.shelf.directory.geography)
    assert again is before
    moved = LILLE.replace("50.632", "50.633")
    report = load_all(bench, people, communes(bench, moved, UNPLACED, date="20260301"))
    assert report.unchanged == 1
    after = bench.shelf.read(bench.shelf.directory.geography)
    assert [one.code for one in after] == ["59350", "97501"]
    assert after.position("59350") == (50.633, 3.047)
    load_all(bench, people, without=["COMMUNES"])
    assert len(bench.shelf.read(bench.shelf.directory.geography)) == 0


def test_without_a_table_establishments_say_where_their_communes_are(bench: Bench) -> None:
    people = register.write(bench.folder / STAMPED, activity(1, city="LILLE", postcode="59037"))
    hospital = sources.write_establishments(
        bench.folder / sources.ESTABLISHMENTS, establishment(finess(1), "CH FICTIF")
    )
    load_all(bench, people, hospital)
    france = bench.shelf.read(bench.shelf.directory.geography)
    person, entry = bench.entry("8" + rpps(1)), bench.entry("1" + finess(1))
    assert person is not None
    assert entry is not None
    [place] = entry.places
    assert (place.latitude, place.longitude) == (50.63794, 3.04531)
    assert france.place(place) == france.place(person.places[0]) == (50.63794, 3.04531)


def test_only_one_import_runs_at_a_time(bench: Bench) -> None:
    def second(_: DirectoryFilling) -> None:
        with pytest.raises(DirectoryBusy):
            bench.load(CARDIOLOGIST)

    bench.shelf.fill(second)
    bench.load(CARDIOLOGIST)
    assert bench.names("lef") == ["LEFÉVÈRE-DESPRÉ"]
