import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miss_server.importers.activities import COLUMNS_56
from miss_server.importers.importing import Allowed, Report, run_import
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from miss_server.storage.audit import SERVER
from miss_server.storage.directory import ImportedFile, Record, day
from miss_server.storage.geography import Commune
from tests.support import register
from tests.support.register import activity, row

NOW = 1_790_000_000_000
DAY = 86_400_000


class Kept:
    """A directory in memory: what an import decides, without an engine."""

    actor = SERVER

    def __init__(self) -> None:
        self.in_force: dict[str, Record] = {}
        self.made_from: list[ImportedFile] = []
        self.written: list[str] = []
        self.settled: list[Commune] = []
        self.with_account: set[str] = set()
        self.memory: bytes | None = None
        self._aside: dict[str, Record] = {}

    def files(self) -> list[ImportedFile]:
        return self.made_from

    def known(self) -> Iterator[tuple[str, bytes]]:
        return iter(sorted((person, one.digest) for person, one in self.in_force.items()))

    def aside(self) -> Iterator[tuple[str, bytes]]:
        return iter(sorted((person, one.digest) for person, one in self._aside.items()))

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        for person in gone:
            del self._aside[person]
        self.written = []
        for record in records:
            self._aside.pop(record.person, None)
            self._aside[record.person] = record
            self.written.append(record.person)
        assert len(self.written) == count

    def clear(self) -> None:
        self._aside = {}

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        self.memory = remembered
        self.in_force, self._aside = self._aside, self.in_force
        self.made_from = list(files)

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        self.memory = remembered
        self.made_from = list(files)

    def remembered(self) -> bytes | None:
        return self.memory

    def holders(self) -> Collection[str]:
        return self.with_account

    def communes(self) -> list[Commune]:
        return self.settled

    def settle(self, communes: Sequence[Commune]) -> None:
        self.settled = list(communes)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def load(kept: Kept, *paths: Path, dry_run: bool = False, **allowed: Any) -> Report:
    texts = [text for path in paths for text in readers(path)]
    return run_import(texts, kept, now_ms=NOW, dry_run=dry_run, allowed=Allowed(**allowed))


def test_several_files_make_one_directory(tmp_path: Path, kept: Kept) -> None:
    report = load(
        kept,
        register.write(tmp_path / "a.txt", activity(1), activity(2)),
        register.write(tmp_path / "b.txt", activity(2, city="Douai"), activity(3)),
    )
    assert (report.people, report.lines) == (3, 4)
    assert len(kept.in_force) == 3
    assert [file.file for file in kept.made_from] == ["a.txt", "b.txt"]
    assert "douai" in kept.in_force["8" + register.rpps(2)].words


def test_records_come_in_the_order_of_names(tmp_path: Path, kept: Kept) -> None:
    names = ["ZELLER", "Élan", "ABEL", "DU PONT"]
    load(kept, register.write(tmp_path / "a", *(activity(i, name=n) for i, n in enumerate(names))))
    assert [record.name_key for record in kept.in_force.values()] == [
        "abel",
        "du pont",
        "elan",
        "zeller",
    ]


def test_a_dry_run_reports_and_changes_nothing(tmp_path: Path, kept: Kept) -> None:
    report = load(kept, register.write(tmp_path / "a", activity(1)), dry_run=True)
    assert report.added == 1
    assert kept.in_force == {}


def spoilt(path: Path, good: int, bad: int) -> Path:
    lines = [row(activity(n)) for n in range(good)] + ["x|"] * bad + [row(activity(good))]
    path.write_text("\n".join(["|".join(COLUMNS_56) + "|", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_few_bad_lines_are_reported_and_the_rest_is_imported(tmp_path: Path, kept: Kept) -> None:
    report = load(kept, spoilt(tmp_path / "a", 197, 2))
    assert (report.people, report.lines) == (198, 198)
    assert [(file, line) for file, line, _ in report.rejected[0].listed] == [("a", 199), ("a", 200)]


def test_too_many_bad_lines_refuse_the_import(tmp_path: Path, kept: Kept) -> None:
    load(kept, register.write(tmp_path / "good", activity(1)))
    before = dict(kept.in_force)
    with pytest.raises(ImportRefused, match="3 of the 200 lines") as refusal:
        load(kept, spoilt(tmp_path / "a", 196, 3))
    assert refusal.value.faults.count == 3
    assert kept.in_force == before
    load(kept, spoilt(tmp_path / "a", 196, 3), rejected=0.02)
    assert len(kept.in_force) == 197


def test_too_many_people_gone_refuse_the_import(tmp_path: Path, kept: Kept) -> None:
    people = [activity(n) for n in range(20)]
    load(kept, register.write(tmp_path / "a", *people))
    with pytest.raises(ImportRefused, match="3 of the 20 entries") as refusal:
        load(kept, register.write(tmp_path / "b", *people[3:]))
    assert "--max-gone" in refusal.value.advice
    assert len(kept.in_force) == 20
    load(kept, register.write(tmp_path / "b", *people[3:]), gone=0.15)
    assert len(kept.in_force) == 17
    load(kept, register.write(tmp_path / "b", *people[4:]))
    assert len(kept.in_force) == 16


def test_nobody_at_all_is_refused(tmp_path: Path, kept: Kept) -> None:
    with pytest.raises(ImportRefused, match="nobody"):
        load(kept, register.write(tmp_path / "a"))


def test_a_file_without_specialities_is_said_to_be_one(tmp_path: Path, kept: Kept) -> None:
    columns = [column for column in COLUMNS_56 if "savoir-faire" not in column]
    path = tmp_path / "a"
    path.write_text("|".join(columns) + "|\n" + row(activity(1), columns) + "\n", encoding="utf-8")
    assert load(kept, path).without_specialities == ["a"]


def test_progress_goes_from_reading_to_the_end_of_writing(tmp_path: Path, kept: Kept) -> None:
    path = register.write(tmp_path / "a", *(activity(n) for n in range(150)))
    told: list[tuple[str, float]] = []
    run_import(
        readers(path),
        kept,
        now_ms=NOW,
        progress=lambda text, share: told.append((text, share)),
    )
    assert [text for text, _ in told] == ["reading a", "comparing", "writing", "writing"]
    assert told[-1][1] == 1.0
    assert all(0 <= share <= 1 for _, share in told)


def members(path: Path, *names: str, written_ms: int = NOW) -> Path:
    lines = ["local identifier;name", *(f"{n};{name}" for n, name in enumerate(names))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.utime(path, (written_ms / 1000, written_ms / 1000))
    return path


def test_a_day_that_is_still_to_come_is_no_date_of_data(tmp_path: Path, kept: Kept) -> None:
    report = load(kept, members(tmp_path / "own_20271231.csv", "A", written_ms=NOW - 3 * DAY))
    assert [(file.file, said) for file, said in report.ahead] == [
        ("own_20271231.csv", "2027-12-31")
    ]
    assert [file.date for file in kept.made_from] == [day(NOW - 3 * DAY)]
    stamp = day(NOW).replace("-", "")
    report = load(kept, members(tmp_path / f"own_{stamp}.csv", "A", "B"))
    assert (report.added, report.ahead) == (1, [])
    tomorrow = day(NOW + DAY)
    report = load(kept, members(tmp_path / f"own_{tomorrow.replace('-', '')}.csv", "A", "B"))
    assert ([file.date for file in report.files], report.ahead) == ([tomorrow], [])
    report = load(
        kept, members(tmp_path / "own.csv", "A", "B", written_ms=NOW + 9 * DAY), older=True
    )
    assert [file.date for file in report.files] == [day(NOW)]


def test_a_day_that_a_version_before_believed_refuses_nothing(tmp_path: Path, kept: Kept) -> None:
    load(kept, members(tmp_path / "own.csv", "A"))
    kept.made_from = [replace(file, date_ms=NOW + 400 * DAY) for file in kept.made_from]
    load(kept, members(tmp_path / "own.csv", "A", "B"))
    assert [file.date for file in kept.made_from] == [day(NOW)]


@pytest.mark.parametrize("name", ["RPPS.csv", "finess_20260105.csv", "MSSante.csv", "COMMUNES.csv"])
def test_an_own_list_is_not_taken_for_a_published_source(
    tmp_path: Path, kept: Kept, name: str
) -> None:
    with pytest.raises(ImportRefused, match=r"is a list of your own") as refusal:
        load(kept, members(tmp_path / name, "A"))
    assert refusal.value.code == "source_name"
    assert "Rename" in refusal.value.advice
    load(kept, register.write(tmp_path / "RPPS.txt", activity(1)))
    with pytest.raises(ImportRefused) as refusal:
        load(kept, tmp_path / "RPPS.txt", members(tmp_path / "RPPS.csv", "A"))
    assert refusal.value.code == "source_name"


def test_an_own_list_that_is_in_force_under_nearly_such_a_name_keeps_it(
    tmp_path: Path, kept: Kept
) -> None:
    load(kept, members(tmp_path / "own.csv", "A"))
    kept.made_from = [replace(file, name="communes") for file in kept.made_from]
    load(kept, members(tmp_path / "communes.csv", "A"), gone=1.0)
    assert list(kept.in_force) == ["local.communes.0"]
