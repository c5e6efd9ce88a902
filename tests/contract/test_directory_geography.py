"""What every engine promises of the directory: where its places are."""

from miss_protocol.directory import Source
from tests.support import register, sources
from tests.support.register import STAMPED, STAMPED_DATE, activity, rpps
from tests.support.searching import CARDIOLOGIST, Bench, communes, load_all
from tests.support.sources import establishment, finess

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
