from pathlib import Path

import pytest

from miss_server.importers.establishments import STOCK_COLUMNS
from miss_server.importers.refusal import ImportRefused
from tests.support import register, sources
from tests.support.sources import establishment, finess


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_an_establishment_is_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    file = sources.write_establishments(
        tmp_path / sources.ESTABLISHMENTS,
        establishment(finess(1), "CENTRE HOSPITALIER DE L'ÉCLUSE"),
        encoding=encoding,
    )
    reader = register.reader(file)
    [line] = register.lines(reader)
    assert (line.key, line.kind, line.name) == (
        "1" + finess(1),
        "o",
        "CENTRE HOSPITALIER DE L'ÉCLUSE",
    )
    assert (line.commune, line.category, line.cedex) == (
        "59350",
        "Centre Hospitalier (C.H.)",
        "59037 LILLE CEDEX",
    )
    assert (reader.source, reader.date_ms) == ("FINESS", 1767484800000)


def test_the_stock_without_a_header_line_is_read(tmp_path: Path) -> None:
    values = {
        "structureet": "structureet",
        "nofinesset": finess(1),
        "rs": "EHPAD FICTIF",
        "libcategetab": "EHPAD",
        "commune": "101",
        "departement": "9A",
    }
    line = ";".join(values.get(column, "") for column in STOCK_COLUMNS)
    file = tmp_path / "etalab.csv"
    other = f"geolocalisation;{finess(1)};703210.5;7060110.2;IGN;2026-01-04"
    file.write_text(f"finess;etalab;93;2026-01-04\n{line}\n{other}\n", encoding="utf-8")
    reader = register.reader(file)
    [read] = register.lines(reader)
    assert (read.name, read.sign, read.category) == ("EHPAD FICTIF", "EHPAD FICTIF", "EHPAD")
    assert (reader.lines, reader.date_ms) == (1, 1767484800000)
    assert read.commune == ""  # overseas, departments are numbered otherwise here


def test_lines_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    wrong = finess(1)[:-1] + str((int(finess(1)[-1]) + 1) % 10)
    lines = (
        establishment(wrong, "A"),
        establishment("x y", "A"),
        establishment(finess(1), ""),
        establishment(finess(1), "A") + ";more",
        "too;few",
        establishment("2A0000014", "Corse"),
    )
    file = sources.write_establishments(tmp_path / "f.csv", *lines)
    reader = register.reader(file)
    assert [line.name for line in register.lines(reader)] == ["Corse"]
    assert [why for _, _, why in reader.rejected.listed] == [
        "the check digit of the FINESS number is wrong",
        "a FINESS number has nine characters",
        "no name",
        "too many columns",
        "too few columns",
    ]


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    file = sources.write_establishments(tmp_path / "f.csv", establishment(finess(1), "A"), "59;1")
    with pytest.raises(ImportRefused) as refusal:
        register.lines(register.reader(file))
    assert refusal.value.code == "cut_short"
