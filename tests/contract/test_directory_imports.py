"""What every engine promises of the directory: replacing it as a whole."""

import random
from collections.abc import Sequence

import msgspec
import pytest

from miss_protocol.directory import Source, normalise
from miss_server.importers.importing import Allowed, run_import
from miss_server.importers.recognising import readers
from miss_server.storage.directory import DirectoryBusy, DirectoryFilling
from miss_server.storage.directory_tables import state
from miss_server.storage.sql import settings
from miss_server.storage.sql.directory import FRESHNESS, generation
from tests.support import register, sources
from tests.support.devices import NOW
from tests.support.register import STAMPED, STAMPED_DATE, activity, rpps
from tests.support.searching import CARDIOLOGIST, NURSE, Bench
from tests.support.sources import establishment, finess, mailbox


class Died(BaseException):
    """The import's process is gone; not an `Exception`, so that nothing handles it."""


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


def test_only_one_import_runs_at_a_time(bench: Bench) -> None:
    def second(_: DirectoryFilling) -> None:
        with pytest.raises(DirectoryBusy):
            bench.load(CARDIOLOGIST)

    bench.shelf.fill(second)
    bench.load(CARDIOLOGIST)
    assert bench.names("lef") == ["LEFÉVÈRE-DESPRÉ"]


def test_an_import_names_who_left_and_who_came_back(bench: Bench) -> None:
    bench.load(*(activity(n) for n in range(4)))
    bench.join(1, NOW)
    bench.join(2, NOW)
    report = bench.load(activity(0), activity(2))
    assert (report.gone, report.left, report.returned) == (2, ["8" + rpps(1)], [])
    report = bench.load(*(activity(n) for n in range(5)))
    assert (report.added, report.left, report.returned) == (3, [], ["8" + rpps(1)])


def test_only_the_same_directory_remembers_what_it_was_made_from(bench: Bench) -> None:
    bench.load(CARDIOLOGIST)
    [reader] = readers(bench.folder / STAMPED)
    bench.shelf.fill(lambda target: run_import([reader], target, now_ms=NOW))
    assert reader.read == 0
    # A version that remembers nothing puts another one in force.
    bench.shelf.write(lambda on: on.execute(state.update().values(generation=2)))
    [reader] = readers(bench.folder / STAMPED)
    bench.shelf.fill(
        lambda target: run_import([reader], target, now_ms=NOW, allowed=Allowed(gone=1))
    )
    assert reader.read > 0


def test_files_that_are_called_the_same_are_told_apart_by_their_kind(bench: Bench) -> None:
    (bench.folder / "skills").mkdir()
    texts = [
        *readers(register.write(bench.folder / STAMPED, activity(1), activity(2))),
        *readers(sources.write_skills(bench.folder / "skills" / STAMPED, (1, "SM04", "Cardio"))),
    ]
    bench.shelf.fill(lambda target: run_import(texts, target, now_ms=NOW))
    told = [(file.kind, file.activities) for file in bench.files()]
    assert told == [("activities", 2), ("skills", 1)]
    # What a version before noted has no kinds.
    noted = [[one.name, one.file, "", one.since_ms] for one in bench.files()]
    bench.shelf.write(lambda on: settings.put(on, FRESHNESS, msgspec.json.encode(noted)))
    assert [file.kind for file in bench.files()] == ["", ""]
