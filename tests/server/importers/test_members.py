import re
from dataclasses import replace
from pathlib import Path

import pytest

from miss_server.importers.identifiers import local_key
from miss_server.importers.importing import run_import
from miss_server.importers.lines import Line
from miss_server.importers.members import SOURCE_MAX
from miss_server.importers.readers import Reader
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from tests.server.importers.test_importing import NOW, Kept, load
from tests.support import register
from tests.support.register import rpps
from tests.support.sources import finess

FRENCH = "Identifiant national;Identifiant local;Nature;Nom;Prénom;Rattachement;Ville;Messagerie sécurisée"
GP = "8" + rpps(1)


def read(path: Path, header: str, *lines: str) -> tuple[Reader, list[Line]]:
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    reader = register.reader(path)
    return reader, register.lines(reader)


def test_members_services_and_people_without_a_number_are_read(tmp_path: Path) -> None:
    reader, lines = read(
        tmp_path / "Réseau_20260105.csv",
        FRENCH,
        f"{GP};;;NOM1;Camille;;Lille;",
        f'{finess(1)};;organisation;"CH ; fictif";;;Lille;Contact@CH.mssante.fr',
        f";;service;Cardiologie;;1{finess(1)};Lille;",
        ";12/B;personne;SECRÉTAIRE;Anne;;Douai;",
        ";A 7;organisation;CPTS du Beffroi;;;Lille;",
    )
    assert reader.source == "Réseau"
    assert reader.rejected.count == 0, reader.rejected.listed
    assert [(line.key, line.kind, line.name) for line in lines] == [
        (GP, "", "NOM1"),
        ("1" + finess(1), "o", "CH ; fictif"),
        (f"1{finess(1)}.cardiologie", "o", "Cardiologie"),
        ("local.reseau.12-b", "", "SECRÉTAIRE"),
        ("local.reseau.a-7", "o", "CPTS du Beffroi"),
    ]
    assert lines[1].mailbox == "contact@ch.mssante.fr"
    assert lines[2].parent == "1" + finess(1)


@pytest.mark.parametrize("separator", [";", ","])
def test_columns_may_be_english_and_separated_otherwise(tmp_path: Path, separator: str) -> None:
    header = separator.join(("Name", "Given name", "National identifier"))
    _, [line] = read(tmp_path / "own.csv", header, separator.join(("NOM1", "Anne", GP)))
    assert (line.key, line.name, line.given) == (GP, "NOM1", "Anne")


def test_lines_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    reader, lines = read(
        tmp_path / "own.csv",
        FRENCH,
        ";1;robot;X;;;;",
        ";1;;;;;;",
        ";1;;X;;;;no address",
        ";;;X;;;;",
        "8123;;;X;;;;",
        "59;;organisation;X;;;;",
        ';1;;"X;;;;',
        ";1;;X",
        ";1;;X;;;;;",
        ";2;;OK;;;;",
    )
    assert [line.name for line in lines] == ["OK"]
    assert [why for _, _, why in reader.rejected.listed] == [
        "the kind is neither person nor organisation nor service",
        "no name",
        "no mailbox address",
        "neither a national nor a local identifier",
        "an RPPS identifier has eleven digits",
        "a FINESS number has nine characters",
        "a quote that is not closed",
        "too few columns",
        "too many columns",
    ]


def test_two_local_identifiers_that_fold_alike_do_not_become_one(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    lines = ("name;local identifier", "A;12-B", "B;12/B", "C;12-b", "A;12-B", "D;12C")
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    reader = register.reader(path)
    assert [line.name for line in register.lines(reader)] == ["A", "A", "D"]
    assert [(line, why) for _, line, why in reader.rejected.listed] == [
        (3, "a local identifier that another one is written like"),
        (4, "a local identifier that another one is written like"),
    ]


def test_a_broken_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refusal:
        read(tmp_path / "own.csv", 'name;"kind', "X;person")
    assert refusal.value.code == "separator"


def test_test_identifiers_are_kept_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("name;national identifier\nX;ANS20231122132732\nY;a b!\n", encoding="utf-8")
    reader = register.reader(path, test_identifiers=True)
    assert [line.key for line in register.lines(reader)] == ["ANS20231122132732"]
    assert (reader.warnings.count, reader.rejected.count) == (1, 1)


NORD, SUD = (f"association-des-secretaires-medicales-{side}" for side in ("nord", "sud"))


def own(folder: Path, name: str, *people: str) -> Path:
    path = folder / f"{name}_20260105.csv"
    lines = ["local identifier;name", *(f"{n};{one}" for n, one in enumerate(people, 1))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_two_lists_whose_long_names_begin_alike_are_two_sources(tmp_path: Path) -> None:
    kept = Kept()
    paths = own(tmp_path, NORD, "DURAND", "PETIT"), own(tmp_path, SUD, "MARTIN", "MOREL")
    report = load(kept, *paths)
    assert (report.people, report.conflict_count) == (4, 0)
    names = [file.name for file in kept.made_from]
    assert len(set(names)) == 2
    for name in names:
        assert re.fullmatch("association-des-secreta-[0-9a-f]{8}", name)
    assert load(kept, *paths).unchanged == 4


def test_a_list_that_was_known_under_its_cut_name_keeps_it(tmp_path: Path) -> None:
    kept, cut = Kept(), NORD[:SOURCE_MAX]
    load(kept, own(tmp_path, cut, "DURAND", "PETIT"))
    # A version before noted that name for both of them.
    [file] = kept.made_from
    kept.made_from = [replace(file, file=f"{name}_20251231.csv") for name in (NORD, SUD)]
    report = load(kept, own(tmp_path, NORD, "DURAND", "PETIT"), own(tmp_path, SUD, "MARTIN"))
    assert (report.gone, report.added, report.unchanged) == (0, 1, 2)
    assert [file.name == cut for file in report.files] == [True, False]
    with pytest.raises(ImportRefused) as refusal:
        load(kept, own(tmp_path, SUD, "MARTIN"))
    assert refusal.value.code == "source_missing", "one list does not become another one"


def test_a_list_is_called_the_same_by_the_process_that_reads_it(tmp_path: Path) -> None:
    kept, cut = Kept(), NORD[:SOURCE_MAX]
    load(kept, own(tmp_path, cut, "DURAND"))
    kept.made_from = [replace(file, file=f"{NORD}.csv") for file in kept.made_from]
    texts = readers(own(tmp_path, NORD, "DURAND", "PETIT"))
    run_import(texts, kept, now_ms=NOW, processes=1)
    assert sorted(kept.in_force) == [local_key(cut, number) for number in "12"]
