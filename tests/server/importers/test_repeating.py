"""An import of the very files that are in force already."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miss_server.importers.importing import Allowed, Report, run_import
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from tests.server.importers.test_importing import NOW, Kept, spoilt
from tests.support import register, sources
from tests.support.register import activity, rpps
from tests.support.sources import finess, mailbox


def load(kept: Kept, *paths: Path, test: bool = False, **allowed: Any) -> tuple[Report, int]:
    """The report, and how many bytes were read for their lines."""
    texts = [text for path in paths for text in readers(path, test_identifiers=test)]
    report = run_import(texts, kept, now_ms=NOW, allowed=Allowed(**allowed))
    return report, sum(text.read for text in texts)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    people = register.write(
        tmp_path / "PS_LibreAcces_20260105.txt",
        *(activity(n) for n in range(200)),
        activity(900, number="12345678901"),
    )
    letters = sources.write_mailboxes(
        tmp_path / sources.MAILBOX_STAMPED,
        mailbox("PER", "a@x.mssante.fr", national="8" + rpps(1), name="Autrement"),
    )
    return people, letters


def test_it_says_what_the_import_before_said_and_reads_no_line(files: tuple[Path, Path]) -> None:
    kept = Kept()
    first, read = load(kept, *files)
    assert (first.added, first.rejected[0].count, first.conflict_count) == (200, 1, 1)
    assert read > 0
    later = files[0].rename(files[0].with_name("PS_LibreAcces_20260107.txt"))
    again, read = load(kept, later, files[1])
    assert read == 0
    assert (again.added, again.changed, again.gone, again.unchanged) == (0, 0, 0, 200)
    for name in ("people", "organisations", "lines", "nameless", "conflicts", "conflict_count"):
        assert getattr(again, name) == getattr(first, name)
    assert again.rejected == first.rejected
    assert [(one.date, one.source.unchanged_since) for one in again.files] == [
        ("2026-01-07", "2026-01-05"),
        ("2026-01-05", ""),
    ]
    assert kept.made_from == again.files
    _, read = load(kept, later, files[1])
    assert read == 0


def test_anything_that_differs_is_read(files: tuple[Path, Path], tmp_path: Path) -> None:
    kept = Kept()
    load(kept, *files)
    text = files[0].read_text("utf-8")

    def read_with(people: str, **options: Any) -> int:
        files[0].write_text(people, encoding="utf-8")
        return load(kept, *files, **options)[1]

    assert read_with(text) == 0
    assert read_with(text.replace("NOM7|", "NOM8|", 1)) > 0  # of the same length
    assert read_with(text) > 0
    assert read_with(text.replace("Libellé civilité|", "Libellé civilite|", 1)) > 0
    assert read_with(text) > 0
    assert read_with(text, test=True) > 0
    assert read_with(text, without=["MSSANTE"]) > 0
    assert load(kept, files[1], files[0])[1] == 0  # the order in which they are given is nothing


def test_what_is_remembered_by_another_version_is_forgotten(files: tuple[Path, Path]) -> None:
    kept = Kept()
    load(kept, *files)
    kept.memory = b"something else"
    assert load(kept, *files)[1] > 0
    kept.memory = None
    assert load(kept, *files)[1] > 0


def test_it_is_refused_for_what_it_would_be_refused_for_otherwise(tmp_path: Path) -> None:
    kept = Kept()
    load(kept, spoilt(tmp_path / "a", 196, 3), rejected=0.02)
    with pytest.raises(ImportRefused, match="3 of the 200 lines"):
        load(kept, tmp_path / "a")
    kept = Kept()
    people = register.write(tmp_path / "b_20260105.txt", activity(1))
    load(kept, people, gone=1)
    older = people.rename(tmp_path / "b_20260104.txt")
    with pytest.raises(ImportRefused, match="2026-01-04"):
        load(kept, older)


def test_an_archive_is_compared_by_what_is_in_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    kept = Kept()
    load(kept, *files)
    packed = tmp_path / "PS_LibreAcces_20260106.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(files[0], files[0].name)
    assert load(kept, packed, files[1])[1] == 0


def test_a_date_that_the_content_states_is_not_the_disks_when_it_comes_again(
    tmp_path: Path,
) -> None:
    kept = Kept()
    stock = sources.write_stock(tmp_path / "stock.csv", "2026-09-05", finess(1))
    load(kept, stock)
    again, read = load(kept, stock)
    assert (read, [file.date for file in again.files]) == (0, ["2026-09-05"])
    next_one = sources.write_stock(tmp_path / "stock.csv", "2026-09-12", finess(1), finess(2))
    assert load(kept, next_one)[0].added == 1
    with pytest.raises(ImportRefused, match="of 2026-09-05, the directory in force of 2026-09-12"):
        load(kept, sources.write_stock(tmp_path / "stock.csv", "2026-09-05", finess(1)))


@pytest.mark.parametrize("day", ["2026-09-05", "2026-09-12"], ids=["the same", "the next"])
def test_a_date_that_was_noted_wrongly_refuses_nothing(tmp_path: Path, day: str) -> None:
    kept = Kept()
    numbers = [finess(1)] if day == "2026-09-05" else [finess(1), finess(2)]
    load(kept, sources.write_stock(tmp_path / "stock.csv", "2026-09-05", finess(1)))
    kept.made_from = [replace(file, date_ms=NOW) for file in kept.made_from]
    report, _ = load(kept, sources.write_stock(tmp_path / "stock.csv", day, *numbers))
    assert [file.date for file in report.files] == [day]
