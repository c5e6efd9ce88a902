from pathlib import Path

import msgspec
import pytest

from miss_protocol.directory import Entry
from miss_server.importers.establishments import STOCK_COLUMNS, EstablishmentReader
from miss_server.importers.merging import merge
from miss_server.importers.refusal import ImportRefused
from miss_server.storage.geography import Commune, Position
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
    other = f"geolocalisation;{finess(1)};660285.6;1799389.6;IGN,UTM_N20;2026-01-04"
    unknown = f"geolocalisation;{finess(2)};660285.6;1799389.6;IGN,UTM_N20;2026-01-04"
    file.write_text(f"finess;etalab;93;2026-01-04\n{line}\n{other}\n{unknown}\n", encoding="utf-8")
    reader = register.reader(file)
    [read, placed] = register.lines(reader)
    assert (read.name, read.sign, read.category) == ("EHPAD FICTIF", "EHPAD FICTIF", "EHPAD")
    assert (reader.lines, reader.date_ms) == (2, 1767484800000)
    assert read.commune == "97101"  # overseas, departments are numbered otherwise here
    assert (placed.key, placed.name, placed.position) == (read.key, "", "16.27 -61.5")
    assert isinstance(reader, EstablishmentReader)
    assert reader.survey.communes() == [Commune("97101", "", Position(16.27, -61.5), ())]


def test_the_stock_and_the_other_file_put_an_establishment_in_the_same_place(
    tmp_path: Path,
) -> None:
    values = {"structureet": "structureet", "nofinesset": finess(1), "rs": "EHPAD FICTIF"}
    values |= {"commune": "350", "departement": "59", "ligneacheminement": "59037 LILLE CEDEX"}
    line = ";".join(values.get(column, "") for column in STOCK_COLUMNS)
    stock = tmp_path / "stock.csv"
    position = f"geolocalisation;{finess(1)};703210.5;7060110.2;IGN;2026-01-04"
    stock.write_text(f"finess;etalab;93;2026-01-04\n{line}\n{position}\n", encoding="utf-8")
    whole = sources.write_establishments(
        tmp_path / "f.csv", establishment(finess(1), "EHPAD FICTIF", "")
    )
    for file in (stock, whole):
        told = [("FINESS", line) for line in register.lines(register.reader(file))]
        record = merge("1" + finess(1), told, b"")
        assert record is not None
        [place] = msgspec.json.decode(record.entry, type=Entry).places
        assert (place.latitude, place.longitude) == (50.63794, 3.04531)
        assert place.commune == "59350"


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"coordx": "x"}, ["no coordinates"]),
        ({"coordx": "inf"}, ["no coordinates"]),
        ({"coordy": "0"}, ["coordinates that are not in France"]),
        ({"coordx": ""}, []),
        ({"cog": ""}, []),
    ],
)
def test_an_establishment_without_a_place_on_the_map_is_kept(
    tmp_path: Path, named: dict[str, str], why: list[str]
) -> None:
    file = sources.write_establishments(
        tmp_path / "f.csv", establishment(finess(1), "A", "", **named)
    )
    reader = register.reader(file)
    [line] = register.lines(reader)
    assert line.position == ""
    assert [reason for _, _, reason in reader.warnings.listed] == why


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
