import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.departments import DEPARTMENTS, department, of_commune
from miss_protocol.errors import Malformed, Refused
from miss_protocol.filters import CODES_MAX, NEAR_MAX, UNFILTERED, Filters, read_filters

FULL = Filters("person", ("10", "60"), ("SM04",), "59", "miss", "59000")


def test_filters_go_through_a_url() -> None:
    assert FULL.parameters() == [
        ("profession", "10"),
        ("profession", "60"),
        ("speciality", "SM04"),
        ("kind", "person"),
        ("department", "59"),
        ("reach", "miss"),
        ("near", "59000"),
    ]
    assert read_filters(FULL.parameters()) == FULL
    assert msgspec.json.decode(msgspec.json.encode(FULL), type=Filters) == FULL


def test_nothing_given_narrows_nothing() -> None:
    assert read_filters([]) == UNFILTERED
    assert read_filters([("q", "x"), ("kind", ""), ("near", ""), ("later", "1")]) == UNFILTERED
    assert UNFILTERED.parameters() == []


def test_a_code_twice_is_given_once() -> None:
    assert read_filters([("profession", "10")] * 20).professions == ("10",)


@pytest.mark.parametrize(
    "parameters",
    [
        [("kind", "robot")],
        [("reach", "mailbox")],
        [("kind", "person"), ("kind", "organisation")],
        [("department", "100")],
        [("department", "x")],
        [("profession", "1 0")],
        [("speciality", "SM04'; DROP")],
        [("profession", "x" * 17)],
        [("near", "a\x00b")],
        [("near", "\ud800")],
    ],
)
def test_what_is_none_is_malformed(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(Malformed):
        read_filters(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        [("profession", str(n)) for n in range(CODES_MAX + 1)],
        [("near", "x" * (NEAR_MAX + 1))],
    ],
)
def test_too_much_is_refused(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused):
        read_filters(parameters)


@given(
    st.lists(st.tuples(st.sampled_from(["kind", "profession", "near", "department"]), st.text()))
)
def test_any_parameters_are_filters_or_a_documented_error(given_: list[tuple[str, str]]) -> None:
    try:
        filters = read_filters(given_)
    except (Malformed, Refused):
        return
    assert read_filters(filters.parameters()) == filters


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("59", "59"),
        ("nord", "59"),
        ("Côte d'Or", "21"),
        ("2a", "2A"),
        ("1", "01"),
        ("01", "01"),
        ("pas de calais", "62"),
        ("Réunion", "974"),
        ("974", "974"),
        ("", None),
        ("Belgique", None),
    ],
)
def test_a_department_has_a_number_and_a_name(text: str, number: str | None) -> None:
    assert department(text) == number


def test_every_department_is_found() -> None:
    assert len(DEPARTMENTS) == 96 + 11
    for number, name in DEPARTMENTS.items():
        assert (department(name), department(number)) == (number, number)


@pytest.mark.parametrize(
    ("code", "number"), [("59350", "59"), ("2A004", "2A"), ("97411", "974"), ("98735", "987")]
)
def test_a_commune_is_in_a_department(code: str, number: str) -> None:
    assert of_commune(code) == number
