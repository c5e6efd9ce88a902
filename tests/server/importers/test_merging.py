from pathlib import Path

import msgspec
import pytest

from miss_protocol.directory import Entry, Place
from miss_server.importers.merging import PLACES_MAX, merge
from miss_server.storage.directory import Record
from tests.support import register, sources
from tests.support.register import activity


def record(path: Path, *named: dict[str, str]) -> Record:
    file = register.reader(register.write(path / "f.txt", *(activity(1, **n) for n in named)))
    lines = register.lines(file)
    found = merge(lines[0].key, [("RPPS", line) for line in lines], bytes(16))
    assert found is not None
    return found


def entry(path: Path, *named: dict[str, str]) -> Entry:
    return msgspec.json.decode(record(path, *named).entry, type=Entry)


def words(path: Path, *named: dict[str, str]) -> set[str]:
    return set(record(path, *named).words.split())


def test_one_line_makes_a_whole_entry(tmp_path: Path) -> None:
    assert entry(tmp_path, {"name": "DURANDEAU", "street_index": "B"}) == Entry(
        person="8" + register.rpps(1),
        kind="person",
        name="DURANDEAU",
        given="Camille",
        title="Docteur",
        profession="Médecin",
        profession_code="10",
        specialities=("Médecine Générale",),
        places=(
            Place(
                "Cabinet du Beffroi", "12B Rue des Tilleuls", "59000", "Lille", "Nord", "0353010101"
            ),
        ),
        sources=("RPPS",),
    )


def test_the_establishment_where_a_person_works_is_known(tmp_path: Path) -> None:
    found = entry(tmp_path, {"finess": "590000014"}, {"city": "Douai"})
    assert [place.establishment for place in found.places] == ["1590000014", ""]


def test_whom_a_structure_numbers_is_part_of_it(tmp_path: Path) -> None:
    numbered = {"type": "3", "number": f"{sources.finess(1)}/S-12"}
    assert entry(tmp_path, numbered).part_of == f"1{sources.finess(1)}"
    assert entry(tmp_path, {}).part_of == ""


def test_several_lines_make_one_entry_with_all_places_and_specialities(tmp_path: Path) -> None:
    found = entry(
        tmp_path,
        {"city": "Lille"},
        {"city": "Douai", "speciality": "Gériatrie"},
        {"city": "Lille", "speciality": "GERIATRIE"},
    )
    assert [place.city for place in found.places] == ["Lille", "Douai"]
    assert found.specialities == ("Médecine Générale", "Gériatrie")


@pytest.mark.parametrize(
    ("spellings", "shown"),
    [
        (["LEFEVERE", "LEFÉVÈRE", "LEFEVERE"], "LEFÉVÈRE"),
        (["LEFEVERE", "Lefevere"], "Lefevere"),
        (["DURAND", "MARTIN", "MARTIN"], "MARTIN"),
        (["MARTIN", "", "MARTIN"], "MARTIN"),
    ],
)
def test_the_richest_spelling_of_the_commonest_name_is_shown(
    tmp_path: Path, spellings: list[str], shown: str
) -> None:
    named = [{"given": spelling} for spelling in spellings]
    assert entry(tmp_path, *named).given == shown
    for spelling in spellings:
        assert spelling.casefold().replace("é", "e").replace("è", "e") in words(
            tmp_path, *named
        ) | {""}


def test_name_and_given_name_are_of_the_same_lines(tmp_path: Path) -> None:
    lines = [
        ("DURAND", "Zoé"),
        ("PETIT", "Anne"),
        ("Durand", ""),
        ("PETIT", "Anne"),
        ("DURAND", ""),
    ]
    found = entry(tmp_path, *({"name": name, "given": given} for name, given in lines))
    assert (found.name, found.given) == ("DURAND", "Zoé")


def test_a_person_without_title_has_the_civility(tmp_path: Path) -> None:
    assert entry(tmp_path, {"title": ""}).title == "Madame"


NOWHERE = dict.fromkeys(
    [
        "organisation",
        "street_number",
        "street_kind",
        "street",
        "postcode",
        "city",
        "department_code",
        "department",
        "phone",
    ],
    "",
)


def test_a_person_without_structure_has_no_place(tmp_path: Path) -> None:
    assert entry(tmp_path, NOWHERE).places == ()


@pytest.mark.parametrize(
    ("named", "place"),
    [
        (
            {"cedex": "75015 PARIS"},
            Place(postcode="75015", city="PARIS", department="75", commune="75115"),
        ),
        (
            {"cedex": "59037 LILLE CEDEX", "postcode": "59000"},
            Place(postcode="59000", city="LILLE", department="59"),
        ),
        (
            {"cedex": "44093 NANTES CEDEX 1"},
            Place(postcode="44093", city="NANTES", department="44"),
        ),
        ({"cedex": "CEDEX"}, Place()),
        ({"cedex": "CEDEX 9"}, Place()),
        ({"cedex": "BP 40012"}, Place()),
        ({"cedex": "PARIS CEDEX 15"}, Place(city="PARIS")),
        ({"cedex": "59037 CEDEX"}, Place(postcode="59037", department="59")),
        (
            {"cedex": "LILLE CEDEX", "postcode": "59000"},
            Place(postcode="59000", city="LILLE", department="59"),
        ),
        ({"postcode": "20090"}, Place(postcode="20090", department="2A")),
        ({"postcode": "20600"}, Place(postcode="20600", department="2B")),
        ({"postcode": "97400"}, Place(postcode="97400", department="974")),
        ({"postcode": "GL", "city": "Nuuk"}, Place(postcode="GL", city="Nuuk")),
        (
            {"postcode": "GL", "city": "Nuuk", "country": "Groenland"},
            Place(postcode="GL", city="Nuuk", department="Groenland"),
        ),
        (
            {"postcode": "59000", "country": "FRANCE", "department_code": "059"},
            Place(postcode="59000", department="59"),
        ),
        ({"sign": "Pharmacie du Moulin"}, Place(organisation="Pharmacie du Moulin")),
    ],
)
def test_places_as_odd_as_the_register_writes_them(
    tmp_path: Path, named: dict[str, str], place: Place
) -> None:
    (found,) = entry(tmp_path, NOWHERE | named).places or (Place(),)
    assert found == place


def test_more_places_than_are_shown_still_find_the_person(tmp_path: Path) -> None:
    named = [{"city": f"Ville{n}"} for n in range(PLACES_MAX + 3)]
    assert len(entry(tmp_path, *named).places) == PLACES_MAX
    assert f"ville{PLACES_MAX + 2}" in words(tmp_path, *named)


def test_words_are_all_by_which_people_search(tmp_path: Path) -> None:
    found = words(
        tmp_path,
        {
            "name": "D'HAËNE",
            "given": "Jean-Pierre",
            "city": "Saint-Omer",
            "sign": "Le Moulin",
            "speciality": "Cardiologie et maladies vasculaires",
        },
    )
    assert found >= {
        "haene", "dhaene", "jean", "jeanpierre", "medecin", "cardiologie", "cardiologue", "saint",
        "st", "omer", "59000", "59", "nord", "beffroi", "moulin",
    }  # fmt: skip


def test_persons_are_sorted_by_name_then_given_name(tmp_path: Path) -> None:
    names = [("Le Goff", "Anne"), ("LEGAY", "Zoé"), ("Élan", "Zoé"), ("elan", "Anna")]
    keys = {
        (name, given): record(tmp_path, {"name": name, "given": given}).sort
        for name, given in names
    }
    assert sorted(names, key=keys.__getitem__) == [
        ("elan", "Anna"),
        ("Élan", "Zoé"),
        ("Le Goff", "Anne"),
        ("LEGAY", "Zoé"),
    ]
