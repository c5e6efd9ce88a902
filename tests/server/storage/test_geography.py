import pytest

from miss_protocol.directory import Place
from miss_server.storage.geography import (
    Commune,
    Geography,
    Position,
    distance_km,
    district,
    whole_city,
)

LILLE = Commune("59350", "Lille", Position(50.632, 3.058), ("59000", "59800"))
ROUBAIX = Commune("59512", "Roubaix", Position(50.690, 3.174), ("59100",))
TOURCOING = Commune("59599", "Tourcoing", Position(50.724, 3.161), ("59200",))
PARIS = Commune("75056", "Paris", Position(48.857, 2.351), ("75001", "75015"))
FIFTEENTH = Commune("75115", "PARIS", Position(48.841, 2.300), ())
AJACCIO = Commune("2A004", "AJACCIO", Position(41.919, 8.738), ("20000", "20090"))
SAINT_DENIS = Commune("97411", "Saint-Denis", Position(-20.879, 55.448), ("97400", "97490"))
SHARED = (
    Commune("59001", "ST ANDRE FICTIF", Position(50.1, 3.0), ("59999",)),
    Commune("59002", "VILLE FICTIVE", Position(50.2, 3.2), ("59999",)),
    Commune("59003", "SANS CENTRE", None, ("59998",)),
)
ALL = (LILLE, ROUBAIX, TOURCOING, PARIS, FIFTEENTH, AJACCIO, SAINT_DENIS, *SHARED)


@pytest.fixture(scope="module")
def france() -> Geography:
    return Geography(ALL)


def test_distances_are_those_of_the_map() -> None:
    assert LILLE.position is not None
    assert PARIS.position is not None
    assert SAINT_DENIS.position is not None
    assert distance_km(LILLE.position, PARIS.position) == pytest.approx(204, abs=1)
    assert distance_km(PARIS.position, SAINT_DENIS.position) == pytest.approx(9380, abs=20)
    assert distance_km(LILLE.position, LILLE.position) == 0
    # Where rounding could take the root beyond one.
    assert distance_km(Position(0, 0), Position(0, 180)) == pytest.approx(20015, abs=1)


def test_near_means_the_nearest_first_and_nobody_beyond(france: Geography) -> None:
    assert LILLE.position is not None
    near = france.near(LILLE.position, 13)
    assert [one.code for _, one in near] == ["59350", "59512", "59599"]
    assert [round(km, 1) for km, _ in near] == [0, 10.4, 12.5]
    assert [one.code for _, one in france.near(LILLE.position, 12)] == ["59350", "59512"]
    assert [one.code for _, one in france.near(LILLE.position, 0)] == ["59350"]
    assert len(france.near(LILLE.position, 30_000)) == len(ALL) - 1


def test_the_centre_of_a_code_and_of_a_postcode(france: Geography) -> None:
    assert france.position("59350") == LILLE.position
    assert france.position("59800") == LILLE.position
    assert france.position("75015") == FIFTEENTH.position
    assert france.position("75115") == FIFTEENTH.position
    assert france.position("75001") == PARIS.position
    assert france.position("75102") == PARIS.position
    assert france.position("59999") == pytest.approx((50.15, 3.1))
    assert france.position("59998") is None
    assert france.position("59003") is None
    assert france.position("00000") is None
    assert len(france) == len(list(france)) == len(ALL)


def test_a_place_is_where_its_source_says_or_its_commune_or_its_postcode(france: Geography) -> None:
    own = Place(commune="59350", latitude=50.61, longitude=3.03)
    assert france.place(own) == (50.61, 3.03)
    assert france.place(Place(commune="59350", postcode="59037")) == LILLE.position
    assert france.place(Place(commune="59003", postcode="59200")) == TOURCOING.position
    assert france.place(Place(postcode="59200")) == TOURCOING.position
    assert france.place(Place(postcode="GL", city="Nuuk")) is None
    assert france.place(Place()) is None


@pytest.mark.parametrize(
    ("postcode", "city", "code"),
    [
        ("59200", "", "59599"),
        ("59200", "A town by another name", "59599"),
        ("59999", "VILLE-FICTIVE", "59002"),
        ("59999", "Saint-André-Fictif", "59001"),
        ("59999", "Nowhere", ""),
        ("59037", "LILLE CEDEX", "59350"),
        ("59037", "LILLE CEDEX 9", "59350"),
        ("59037", "", ""),
        ("69037", "LILLE CEDEX", ""),  # another department's
        ("20700", "AJACCIO CEDEX 9", "2A004"),
        ("97744", "SAINT DENIS CEDEX 9", ""),
        ("97490", "STE CLOTILDE", "97411"),
        ("75015", "PARIS", "75115"),
        ("75116", "PARIS 16", "75116"),
        ("", "LILLE", ""),
        ("GL", "Nuuk", ""),
    ],
)
def test_which_commune_an_address_means(
    france: Geography, postcode: str, city: str, code: str
) -> None:
    assert france.code(postcode, city) == code


@pytest.mark.parametrize(
    ("postcode", "code", "city"),
    [
        ("75001", "75101", "75056"),
        ("75020", "75120", "75056"),
        ("75021", "", ""),
        ("69009", "69389", "69123"),
        ("69000", "", ""),
        ("13016", "13216", "13055"),
        ("13100", "", ""),
        ("59000", "", ""),
        ("750", "", ""),
    ],
)
def test_districts_by_their_postcode(postcode: str, code: str, city: str) -> None:
    assert district(postcode) == code
    assert whole_city(code) == city
