"""What every engine promises of the directory: what is near a place comes first, with its distance."""

import pytest

from miss_protocol.errors import Code, Malformed, Refused
from miss_protocol.filters import Filters
from tests.support import register, sources
from tests.support.devices import NOW
from tests.support.register import STAMPED, activity
from tests.support.searching import LONG_AGO, Bench, communes, load_all
from tests.support.sources import establishment, finess

COMMUNES = (
    '59350,Lille,"59000, 59800",50.632,3.047',
    "59599,Tourcoing,59200,50.724,3.161",
    "62041,Arras,62000,50.288,2.771",
    "75056,Paris,75001,48.859,2.347",
    "93066,Saint-Denis,93200,48.936,2.357",
    "97411,Saint-Denis,97400,-20.879,55.448",
)
LILLE, TOURCOING, ARRAS, PARIS, REUNION = "59350", "59599", "62041", "75115", "97411"


def nurse(
    serial: int, name: str, commune: str, postcode: str = "", city: str = ""
) -> dict[str, str]:
    return activity(
        serial,
        name=name,
        title="",
        profession="Infirmier",
        profession_code="60",
        commune=commune,
        postcode=postcode,
        city=city,
        department="",
        department_code=commune[:3] if commune.startswith("97") else commune[:2],
    )


NURSES = (
    nurse(1, "ABEL", PARIS, "75015", "Paris"),
    nurse(2, "BEAU", ARRAS, "62000", "Arras"),
    nurse(3, "CARON", TOURCOING, "59200", "Tourcoing"),
    nurse(4, "DUVAL", LILLE, "59000", "Lille"),
    nurse(5, "ELIOT", REUNION, "97400", "Saint-Denis"),
    nurse(6, "FABER", "", "", ""),
    nurse(7, "GRAND", ARRAS, "62000", "Arras"),
    nurse(7, "GRAND", LILLE, "59000", "Lille"),
)
NEAR_LILLE = ["DUVAL", "GRAND", "CARON", "BEAU", "ABEL", "ELIOT", "FABER"]


@pytest.fixture
def placed(bench: Bench) -> Bench:
    """Nurses of whom we know where they are, but one."""
    load_all(bench, register.write(bench.folder / STAMPED, *NURSES), communes(bench, *COMMUNES))
    return bench


def near(place: str, **more: str) -> Filters:
    return Filters(near=place, **more)  # type: ignore[arg-type]  # of which tests give good ones


@pytest.mark.parametrize(
    "place", ["59000", "59350", "Lille", " LILLE ", "50.632,3.047", "50.63 , 3.05", "lille 59"]
)
def test_what_is_near_comes_first_with_its_distance(placed: Bench, place: str) -> None:
    entries = placed.page("ide", filters=near(place)).entries
    assert [entry.name for entry in entries] == NEAR_LILLE
    away = [entry.distance for entry in entries]
    assert away[:4] == [0, 0, 13, 43]
    assert away[4] is not None
    assert away[4] > 190
    assert away[6] is None
    assert [entry.distance for entry in placed.page("ide").entries] == [None] * 7


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
def test_pages_near_a_place_are_the_whole_list(placed: Bench, limit: int) -> None:
    assert placed.pages("ide", limit, filters=near("59000")) == NEAR_LILLE


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_the_reachable_come_first_near_or_far(placed: Bench, limit: int) -> None:
    placed.join(1, NOW)
    placed.join(2, NOW)
    placed.join(3, LONG_AGO)
    expected = ["BEAU", "ABEL", "CARON", "DUVAL", "GRAND", "ELIOT", "FABER"]
    assert placed.pages("ide", limit, filters=near("59000")) == expected
    assert placed.names("ide", filters=near("59000", reach="miss")) == ["BEAU", "ABEL"]


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_a_name_typed_in_full_comes_before_what_is_nearer(bench: Bench, limit: int) -> None:
    people = register.write(
        bench.folder / STAMPED,
        nurse(1, "DUVAL", PARIS, "75015"),
        nurse(2, "DUVALLE", LILLE, "59000"),
        nurse(3, "DUVAL", ARRAS, "62000"),
        nurse(4, "DUVALLON", "", ""),
        nurse(5, "DUVALET", TOURCOING, "59200"),
    )
    load_all(bench, people, communes(bench, *COMMUNES))
    expected = ["8" + register.rpps(n) for n in (3, 1, 2, 5, 4)]
    found, cursor = [], None
    while True:
        page = bench.page("duval", filters=near("59000"), limit=limit, cursor=cursor)
        found += [entry.person for entry in page.entries]
        cursor = page.next
        if cursor is None:
            break
    assert found == expected


def test_among_repaired_ones_the_near_come_first(placed: Bench) -> None:
    page = placed.page("infrmier", filters=near("59200"))
    assert [entry.name for entry in page.entries][:3] == ["CARON", "DUVAL", "GRAND"]
    assert page.entries[0].repaired
    assert page.entries[0].distance == 0


def test_districts_are_their_citys(placed: Bench) -> None:
    [first, *_] = placed.page("ide", filters=near("75015")).entries
    assert (first.name, first.distance) == ("ABEL", 0)
    [first, *_] = placed.page("ide", filters=near("paris")).entries
    assert first.name == "ABEL"


def test_an_establishment_is_where_its_source_says(bench: Bench) -> None:
    hospital = sources.write_establishments(
        bench.folder / sources.ESTABLISHMENTS, establishment(finess(1), "CH FICTIF")
    )
    load_all(bench, hospital, communes(bench, *COMMUNES))
    [entry] = bench.page("ch fictif", filters=near("59200")).entries
    assert entry.distance == 13


@pytest.mark.parametrize("place", ["Nulleville", "99999", "Saint-Denis", "'; DROP TABLE x", "%"])
def test_a_place_that_is_not_known_is_refused(placed: Bench, place: str) -> None:
    with pytest.raises(Refused) as refusal:
        placed.page("ide", filters=near(place))
    assert refusal.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("place", "name"), [("saint denis 974", "ELIOT"), ("St-Denis (93)", "ABEL")]
)
def test_a_department_chooses_among_communes_of_one_name(
    placed: Bench, place: str, name: str
) -> None:
    assert placed.names("ide", filters=near(place))[0] == name


@pytest.mark.parametrize("place", ["91,0", "0,181", "-91,-181"])
def test_degrees_that_are_none_are_malformed(placed: Bench, place: str) -> None:
    with pytest.raises(Malformed):
        placed.page("ide", filters=near(place))


@pytest.mark.parametrize("place", ["0,0", "-20.88,55.45", "90,180"])
def test_where_nobody_is_the_others_come_by_name(placed: Bench, place: str) -> None:
    names = placed.names("ide", filters=near(place))
    assert sorted(names) == sorted(NEAR_LILLE)
    assert names[0] == ("ELIOT" if place.startswith("-20") else "ABEL")


def test_a_dense_place_is_asked_for_by_departments(
    placed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miss_server.storage.sql.nearby.MARKS_MAX", 0)
    assert placed.pages("ide", 2, filters=near("59000")) == NEAR_LILLE
