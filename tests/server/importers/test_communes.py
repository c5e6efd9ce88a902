from pathlib import Path

import pytest

from miss_server.importers.communes import CommuneReader
from miss_server.importers.fictive_communes import write_communes
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.surveying import Survey, together
from miss_server.storage.geography import Commune, Position
from tests.support import register

OLD = "Code_commune_INSEE;Nom_commune;Code_postal;Ligne_5;Libellé_d_acheminement;coordonnees_gps"
NEW = "#Code_commune_INSEE;Nom_de_la_commune;Code_postal;Libellé_d_acheminement;Ligne_5"
GATHERED = (
    "code_commune_INSEE,nom_commune_postal,code_postal,libelle_acheminement,ligne_5,latitude,"
    "longitude,code_commune,article,nom_commune,nom_commune_complet,code_departement"
)
LILLE = Position(50.63219, 3.04757)


def read(path: Path, *lines: str, encoding: str = "utf-8") -> CommuneReader:
    path.write_text("".join(line + "\n" for line in lines), encoding=encoding)
    found = register.reader(path)
    assert isinstance(found, CommuneReader)
    for _ in found.rows():
        pass
    return found


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
def test_the_base_of_postcodes_with_coordinates(tmp_path: Path, encoding: str) -> None:
    found = read(
        tmp_path / "laposte_hexasmal.csv",
        OLD,
        "59350;LILLE;59000;;LILLE;50.6321868,3.0475737",
        "59350;LILLE;59800;;LILLE;50.6321868,3.0475737",
        "59350;LILLE;59160;LOMME;LOMME;50.6321868,3.0475737",
        encoding=encoding,
    )
    assert found.communes == [Commune("59350", "LILLE", LILLE, ("59000", "59800", "59160"))]
    assert (found.source, found.lines, found.rejected.count) == ("COMMUNES", 3, 0)


def test_the_base_of_postcodes_without_coordinates(tmp_path: Path) -> None:
    found = read(
        tmp_path / "019HexaSmal.csv",
        NEW,
        "2A004;AJACCIO;20000;AJACCIO;",
        "01001;L ABERGEMENT CLEMENCIAT;01400;L ABERGEMENT CLEMENCIAT;",
        encoding="latin-1",
    )
    assert found.communes == [
        Commune("2A004", "AJACCIO", None, ("20000",)),
        Commune("01001", "L ABERGEMENT CLEMENCIAT", None, ("01400",)),
    ]


def test_a_table_whose_leading_zeros_a_spreadsheet_cut_off(tmp_path: Path) -> None:
    found = read(
        tmp_path / "communes.csv",
        GATHERED,
        "1001,L ABERGEMENT CLEMENCIAT,1400,L ABERGEMENT,,46.1534,4.9261,1,L',Abergement,"
        "L'Abergement-Clémenciat,1",
        "97501,MIQUELON LANGLADE,97500,MIQUELON,,,,501,,Miquelon,Miquelon-Langlade,975",
    )
    assert found.communes == [
        Commune("01001", "L'Abergement-Clémenciat", Position(46.1534, 4.9261), ("01400",)),
        Commune("97501", "Miquelon-Langlade", None, ("97500",)),
    ]


def test_the_table_of_communes_with_all_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "communes-france-2025.csv"
    with path.open("w", encoding="utf-8") as file:
        assert write_communes(file) > 40
    found = read(path, *path.read_text("utf-8").splitlines())
    assert Commune("59350", "Lille", Position(50.632, 3.058), ("59000", "59800")) in found.communes
    # Districts are their city's.
    assert Commune("75056", "Paris", Position(48.841, 2.3), ("75015", "75011")) in found.communes
    assert found.rejected.count == 0


def test_lines_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    found = read(
        tmp_path / "c.csv",
        OLD,
        "5935X;LILLE;59000;;LILLE;50.6,3.0",
        "59350;;59000;;LILLE;50.6,3.0",
        "59350;LILLE;59000;;LILLE;50.6",
        "59350;LILLE;59000;;LILLE;50.6,east",
        "59350;LILLE;59000;;LILLE;91,3.0",
        "59350;LILLE;59000;;LILLE;nan,3.0",
        "59350;LILLE;59000",
        "59350;LILLE;59000;;LILLE;50.6,3.0;more",
        '59350;"LILLE;59000;;LILLE;50.6,3.0',
        "59350;LILLE;5900X;;LILLE;50.6,3.0",
    )
    assert [why for _, _, why in found.rejected.listed] == [
        "no code of a commune",
        "no name",
        "no coordinates",
        "no coordinates",
        "no coordinates",
        "no coordinates",
        "too few columns",
        "too many columns",
        "a quote that is not closed",
    ]
    assert found.communes == [Commune("59350", "LILLE", Position(50.6, 3.0), ("05900",))]


def test_a_header_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(OLD + "\n")
    reader = register.reader(path)
    path.write_text('"code_insee;code_postal\n')
    with pytest.raises(ImportRefused) as refusal:
        register.lines(reader)
    assert refusal.value.code == "separator"


def test_establishments_complete_what_no_table_says() -> None:
    survey = Survey()
    survey.name("59350", "LILLE", "59037")
    survey.add("59350", Position(50.6, 3.0))
    survey.add("59350", Position(50.7, 3.1))
    survey.name("59599", "TOURCOING", "59200")
    survey.add("59599", Position(50.7, 3.2))
    survey.add("75115", Position(48.8, 2.3))
    survey.name("75115", "PARIS", "75015")
    lille, tourcoing, paris = together(
        [
            Commune("59350", "Lille", None, ("59000",)),
            Commune("59350", "Lille", None, ("59800",)),
        ],
        survey.communes(),
    )
    assert lille == Commune("59350", "Lille", Position(50.65, 3.05), ("59000", "59800"))
    assert tourcoing == Commune("59599", "TOURCOING", Position(50.7, 3.2), ("59200",))
    assert paris == Commune("75115", "PARIS", Position(48.8, 2.3), ("75015",))
