"""What every engine promises of those with an account, however many match: the same list, in the same order."""

import pytest

from miss_protocol.filters import Filters
from miss_server.storage.sql import holders, listing
from tests.support import register
from tests.support.devices import NOW
from tests.support.register import STAMPED, activity
from tests.support.searching import LONG_AGO, Bench, communes, load_all

PEOPLE = 60
NAMES = [f"NOM{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(PEOPLE)]


@pytest.fixture(params=[1, 4, 500])
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matches of the first step, and twice as many until all accounts are looked up."""
    size: int = request.param
    monkeypatch.setattr(holders, "FIRST_WALK", size)
    monkeypatch.setattr(holders, "WALKED_MAX", 3 * size)


def _expected(known: range) -> list[str]:
    """By reach, then whom one knows, then by name."""

    def order(n: int) -> tuple[object, ...]:
        has_account, is_dormant = n % 2 == 0, n % 3 == 0
        if not has_account:
            return (2, False, n)
        return (int(is_dormant), n not in known, n)

    return [NAMES[n] for n in sorted(range(PEOPLE), key=order)]


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("limit", [3, 7, 50])
def test_those_with_an_account_are_found_among_any_number(bench: Bench, limit: int) -> None:
    bench.load(*(activity(n, name=name) for n, name in enumerate(NAMES)))
    mine = bench.join(99, NOW)
    known = range(30, 42)
    for n in range(0, PEOPLE, 2):
        account = bench.join(n, LONG_AGO if n % 3 == 0 else NOW)
        if n in known:
            bench.relate(mine, account, first_ms=NOW)
    for query in ("nom lille", "lille"):
        assert bench.pages(query, limit, account=mine) == _expected(known)
    reached = bench.pages("lille", limit, account=mine, filters=Filters(reach="miss"))
    assert reached == _expected(known)[:20]


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("limit", [2, 5])
def test_who_is_called_as_typed_comes_first_among_any_number(bench: Bench, limit: int) -> None:
    people = [activity(n, name=name, given="Lille") for n, name in enumerate(NAMES)]
    bench.load(*people, activity(70, name="LILLE"), activity(71, name="LILLE"))
    for n in (3, 50, 70):
        bench.join(n, NOW)
    mine = bench.join(99, NOW)
    bench.relate(mine, bench.join(51, LONG_AGO), accepted_ms=NOW)
    found = bench.pages("lille", limit, account=mine)
    assert found[:5] == ["LILLE", NAMES[3], NAMES[50], NAMES[51], "LILLE"]
    assert len(found) == PEOPLE + 2


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("most", [2_000, 10])
@pytest.mark.parametrize("limit", [3, 50])
def test_nobody_near_a_place_is_lost_between_pages(
    bench: Bench, limit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "HOLDERS_MAX", most)
    table = communes(bench, "59350,Lille,59000,50.63,3.06", "29019,Brest,29200,48.39,-4.49")
    # One has the code of a commune that is in no table any more: its postcode says where it is.
    people = [
        activity(
            n,
            name=name,
            city="Lille",
            postcode="59000",
            commune="59999" if n == 20 else "59350",
            department_code="59",
        )
        for n, name in enumerate(NAMES)
    ]
    file = register.write(bench.folder / STAMPED, *people)
    load_all(bench, file, table)
    for n in range(0, PEOPLE, 2):
        bench.join(n, NOW)
    found = bench.pages("nom", limit, filters=Filters(near="Lille"))
    assert sorted(found) == NAMES
    assert sorted(found[:30]) == NAMES[::2]


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("limit", [3, 50])
def test_near_a_place_the_close_come_first_among_any_number(bench: Bench, limit: int) -> None:
    cities = [("Lille", "59000"), ("Lens", "62300"), ("Brest", "29200")]
    table = communes(
        bench,
        "59350,Lille,59000,50.63,3.06",
        "62498,Lens,62300,50.43,2.83",
        "29019,Brest,29200,48.39,-4.49",
    )
    people = [
        activity(
            n,
            name=name,
            city=cities[n % 3][0],
            postcode=cities[n % 3][1],
            commune="",
            department_code=cities[n % 3][1][:2],
        )
        for n, name in enumerate(NAMES)
    ]
    file = register.write(bench.folder / STAMPED, *people)
    load_all(bench, file, table)
    for n in range(0, PEOPLE, 2):
        bench.join(n, LONG_AGO if n % 4 == 0 else NOW)
    found = bench.pages("nom", limit, filters=Filters(near="Lille"))
    # By reach, then Lille, Lens, Brest.
    expected = sorted(range(PEOPLE), key=lambda n: (2 if n % 2 else int(n % 4 == 0), n % 3, n))
    assert found == [NAMES[n] for n in expected]
