"""What every engine promises of the directory: who is reachable, who comes first, and pages."""

import os

import pytest

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import new_address
from tests.support.devices import DAY_MS, DOMAIN, NOW
from tests.support.register import activity
from tests.support.searching import CARDIOLOGIST, LONG_AGO, NURSE, Bench


@pytest.mark.parametrize(
    ("seen", "state", "reach"),
    [
        ([NOW - DAY_MS], {}, "miss"),
        ([LONG_AGO + 1], {}, "miss"),
        ([LONG_AGO], {}, "dormant"),
        ([LONG_AGO, NOW], {}, "miss"),
        ([], {}, "none"),
        ([NOW], {"revoked": True}, "none"),
        ([NOW], {"suspended": True}, "none"),
    ],
)
def test_reach_is_told_honestly(
    bench: Bench, seen: list[int], state: dict[str, bool], reach: str
) -> None:
    bench.load(CARDIOLOGIST)
    address = bench.join(1, *seen, **state)
    (entry,) = bench.page("lef").entries
    assert entry.reach == reach
    assert entry.account == (None if reach == "none" else address)
    alone = bench.entry(entry.person)
    assert alone is not None
    assert (alone.reach, alone.account) == (entry.reach, entry.account)


def test_entries_are_found_by_account(bench: Bench) -> None:
    bench.load(CARDIOLOGIST, NURSE)
    first, unused = bench.join(1, NOW), bench.join(3, NOW)
    suspended = bench.join(2, NOW, suspended=True)
    stranger = new_address(os.urandom(16), DOMAIN)
    asked = [first, unused, suspended, stranger]
    look_up = bench.shelf.directory.by_account
    found = bench.shelf.read(lambda on: look_up(on, asked, now_ms=NOW))
    assert {address: entry.name for address, entry in found.items()} == {
        first: "LEFÉVÈRE-DESPRÉ",
        suspended: "D'HAËNE",
    }
    assert bench.shelf.read(lambda on: look_up(on, [], now_ms=NOW)) == {}


def crowd(bench: Bench) -> list[str]:
    """Seven people that "martel" finds, in the order in which they must come."""
    people = {
        1: ("MARTELIN", "Anne"),
        2: ("MARTEL", "Paul"),
        3: ("MARTEL", "Anne"),
        4: ("AUBERT", "Martel"),
        5: ("MARTELIN", "Zoé"),
        6: ("MARTEL", "Zoé"),
        7: ("ZELLER", "Martel"),
        8: ("DUPRÉ", "Anne"),
    }
    bench.load(*(activity(n, name=name, given=given) for n, (name, given) in people.items()))
    bench.join(7, NOW)
    bench.join(6, NOW)
    bench.join(5, LONG_AGO, LONG_AGO)
    bench.join(2, LONG_AGO)
    bench.join(8, NOW)
    return ["MARTEL Zoé", "ZELLER Martel", "MARTEL Paul", "MARTELIN Zoé", "MARTEL Anne",
            "AUBERT Martel", "MARTELIN Anne"]  # fmt: skip


def test_reachable_people_come_first_then_exact_names_then_by_name(bench: Bench) -> None:
    expected = crowd(bench)
    found = [f"{entry.name} {entry.given}" for entry in bench.page("martel").entries]
    assert found == expected


@pytest.mark.parametrize("query", ["durand du pont", "du pont durand", "Dr Du Pont"])
def test_a_name_of_several_words_is_exact_when_all_are_typed(bench: Bench, query: str) -> None:
    bench.load(
        activity(1, name="DU PONT", given="Durand"),
        activity(2, name="ABEL-DU-PONTHIEU", given="Durand"),
    )
    assert bench.names(query)[0] == "DU PONT"


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 50])
def test_pages_together_are_the_whole_list(bench: Bench, limit: int) -> None:
    expected = [name.split()[0] for name in crowd(bench)]
    assert bench.pages("martel", limit) == expected


def test_a_page_is_never_longer_than_the_limit_of_pages(bench: Bench) -> None:
    bench.load(*(activity(n) for n in range(limits.PAGE_MAX + 5)))
    page = bench.page("lille", limit=10_000)
    assert len(page.entries) == limits.PAGE_MAX
    assert page.next is not None
    assert len(bench.page("lille").entries) == limits.PAGE_DEFAULT


def test_pages_go_on_over_a_new_directory(bench: Bench) -> None:
    people = [activity(n, name=name) for n, name in enumerate(["ABEL", "BEAU", "CARON", "DUVAL"])]
    bench.load(*people)
    page = bench.page("lille", limit=2)
    bench.load(activity(9, name="AARON"), *people[1:])
    assert bench.names("lille", cursor=page.next) == ["CARON", "DUVAL"]


def test_a_cursor_whose_person_left_is_refused(bench: Bench) -> None:
    people = [activity(n, name=name) for n, name in enumerate(["ABEL", "BEAU", "CARON", "DUVAL"])]
    bench.load(*people)
    page = bench.page("lille", limit=2)
    bench.load(people[0], *people[2:])
    with pytest.raises(Refused) as refusal:
        bench.page("lille", cursor=page.next)
    assert refusal.value.code is Code.OUT_OF_PLACE
