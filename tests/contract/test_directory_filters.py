"""What every engine promises of the directory: a search narrowed, and by whom it is made."""

import json
from typing import Any

import pytest

from miss_protocol.filters import Filters
from miss_protocol.ids import AccountAddress
from miss_server.importers.importing import run_import
from miss_server.importers.recognising import readers
from miss_server.storage.meeting_tables import reach_rules
from tests.support import register, sources
from tests.support.devices import NOW
from tests.support.register import STAMPED, activity, rpps
from tests.support.searching import CARDIOLOGIST, LONG_AGO, NURSE, Bench
from tests.support.sources import establishment, finess, mailbox

# --- Filters --------------------------------------------------------------------------------------


def town(bench: Bench) -> None:
    """A cardiologist and a nurse of two departments, a pharmacist abroad, a hospital of Lille."""
    people = [
        CARDIOLOGIST | {"Code savoir-faire": "SM04"},
        NURSE,
        NURSE | {"Nom d'exercice": "D'HAËNE", "Code postal (coord. structure)": "62000"},
        activity(
            5,
            name="QUESNIMONT",
            profession="Pharmacien",
            profession_code="21",
            speciality="",
            city="Montréal",
            country="Canada",
            postcode="H3A",
            department="",
            department_code="",
        ),
    ]
    texts = [
        *readers(register.write(bench.folder / STAMPED, *people)),
        *readers(
            sources.write_establishments(
                bench.folder / sources.ESTABLISHMENTS,
                establishment(finess(1), "Hôpital du Haëne"),
            )
        ),
        *readers(
            sources.write_mailboxes(
                bench.folder / sources.MAILBOX_STAMPED,
                mailbox("PER", "g@x.mssante.fr", national="8" + rpps(1), name="LEFEVERE"),
            )
        ),
    ]
    bench.shelf.fill(lambda target: run_import(texts, target, now_ms=NOW))


@pytest.mark.parametrize(
    ("query", "filters", "names"),
    [
        ("haene", {}, {"D'HAËNE", "Hôpital du Haëne"}),
        ("haene", {"kind": "person"}, {"D'HAËNE"}),
        ("haene", {"kind": "organisation"}, {"Hôpital du Haëne"}),
        ("haene", {"professions": ("60",)}, {"D'HAËNE"}),
        ("haene", {"professions": ("60", "10")}, {"D'HAËNE"}),
        ("haene", {"professions": ("10",)}, set()),
        ("lefevere", {"specialities": ("SM04",)}, {"LEFÉVÈRE-DESPRÉ"}),
        ("lefevere", {"specialities": ("sm04", "SM54")}, {"LEFÉVÈRE-DESPRÉ"}),
        ("lefevere", {"specialities": ("SM54",)}, set()),
        ("haene", {"department": "62"}, {"D'HAËNE"}),
        ("haene", {"department": "59"}, {"Hôpital du Haëne"}),
        ("quesnimont", {"department": "59"}, set()),
        ("lefevere", {"department": "59", "professions": ("10",), "kind": "person"},
         {"LEFÉVÈRE-DESPRÉ"}),
        ("hanee", {"professions": ("60",)}, {"D'HAËNE"}),
        ("", {"professions": ("60",)}, set()),
    ],
)  # fmt: skip
def test_every_filter_must_be_met(
    bench: Bench, query: str, filters: dict[str, Any], names: set[str]
) -> None:
    town(bench)
    assert set(bench.names(query, filters=Filters(**filters))) == names


def test_a_least_reach_leaves_the_others_out(bench: Bench) -> None:
    bench.load(*(activity(n, name=f"NOM{n}") for n in range(4)))
    bench.join(1, LONG_AGO)
    bench.join(2, NOW)
    assert bench.names("lille", filters=Filters(reach="miss")) == ["NOM2"]
    assert bench.names("lille", filters=Filters(reach="dormant")) == ["NOM2", "NOM1"]
    page = bench.page("lille", filters=Filters(reach="dormant"), limit=1)
    assert bench.names("lille", filters=Filters(reach="dormant"), cursor=page.next) == ["NOM1"]


# --- Whom one knows -------------------------------------------------------------------------------


def test_those_whom_one_knows_come_first_among_the_reachable(bench: Bench) -> None:
    names = ["ABEL", "BEAU", "CARON", "DUVAL", "ELIOT", "FABER"]
    bench.load(*(activity(n, name=name) for n, name in enumerate(names)))
    mine = bench.join(9, NOW)
    accounts = {n: bench.join(n, LONG_AGO if n > 3 else NOW) for n in range(1, 6)}
    bench.relate(mine, accounts[2], first_ms=NOW)
    bench.relate(mine, accounts[3], accepted_ms=NOW)
    bench.relate(mine, accounts[5], first_ms=NOW)
    bench.relate(accounts[1], mine, first_ms=NOW)
    expected = ["CARON", "DUVAL", "BEAU", "FABER", "ELIOT", "ABEL"]
    assert bench.names("lille", account=mine) == expected
    assert bench.names("lille") == ["BEAU", "CARON", "DUVAL", "ELIOT", "FABER", "ABEL"]
    found, cursor = [], None
    while True:
        page = bench.page("lille", account=mine, limit=2, cursor=cursor)
        found += [entry.name for entry in page.entries]
        cursor = page.next
        if cursor is None:
            break
    assert found == expected


@pytest.mark.parametrize("what", ["declined_ms", "blocked_ms"])
def test_whom_one_turned_away_is_not_one_whom_one_knows(bench: Bench, what: str) -> None:
    bench.load(activity(1, name="ABEL"), activity(2, name="BEAU"))
    mine, first, second = bench.join(9, NOW), bench.join(1, NOW), bench.join(2, NOW)
    bench.relate(mine, second, first_ms=NOW, **{what: NOW})
    assert bench.names("lille", account=mine) == ["ABEL", "BEAU"]
    assert first != second


# --- Who may find whom ----------------------------------------------------------------------------


def rule(bench: Bench, account: AccountAddress, **told: Any) -> None:
    values = {"account": account, "changed_ms": NOW} | told
    bench.shelf.write(lambda on: on.execute(reach_rules.insert().values(**values)))


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, True),
        ({"found_by": "contacts"}, False),
        ({"found_by": "listed"}, False),
        ({"found_by": "listed", "professions": json.dumps(["10", "60"])}, True),
        ({"found_by": "listed", "professions": json.dumps(["6", "610"])}, False),
        ({"found_by": "listed", "establishments": json.dumps(["1590000001"])}, False),
        ({"red_listed": True}, False),
        ({"reached_by": "contacts"}, True),
    ],
)
def test_who_may_not_find_an_account_sees_somebody_without_one(
    bench: Bench, told: dict[str, Any], found: bool
) -> None:
    bench.load(NURSE, CARDIOLOGIST, activity(7, name="ZOLA"))
    nurse, doctor = bench.join(2, NOW), bench.join(1, NOW)
    rule(bench, doctor, **told)
    [entry] = bench.page("lefevere", account=nurse).entries
    assert (entry.account, entry.reach) == ((doctor, "miss") if found else (None, "none"))
    alone = bench.shelf.read(
        lambda on: bench.shelf.directory.entry(on, entry.person, now_ms=NOW, account=nurse)
    )
    assert alone is not None
    assert (alone.account, alone.reach) == (entry.account, entry.reach)
    # Neither order nor pages tell: without an account, the others come by name.
    bench.join(7, LONG_AGO)
    expected = ["LEFÉVÈRE-DESPRÉ", "ZOLA"] if found else ["ZOLA", "LEFÉVÈRE-DESPRÉ"]
    assert bench.names("lille", account=nurse) == expected
    one = bench.page("lille", account=nurse, limit=1)
    assert [e.name for e in one.entries] == expected[:1]
    assert bench.names("lille", account=nurse, cursor=one.next) == expected[1:]
    assert bench.names("lille", account=nurse, filters=Filters(reach="miss")) == (
        ["LEFÉVÈRE-DESPRÉ"] if found else []
    )
    # Oneself, and the operator, find everybody.
    assert bench.page("lefevere", account=doctor).entries[0].account == doctor
    assert bench.page("lefevere").entries[0].account == doctor


def test_who_works_at_a_listed_establishment_finds_who_lists_it(bench: Bench) -> None:
    bench.load(
        CARDIOLOGIST,
        activity(7, name="ZOLA", finess="590000014"),
        activity(7, name="ZOLA", finess="620000018", city="Arras"),
        activity(8, name="HUGO", finess="750000018"),
        activity(9, name="SAND"),
    )
    doctor = bench.join(1, NOW)
    rule(bench, doctor, found_by="listed", establishments=json.dumps(["1620000018", "1590000014"]))
    for serial, finds in ((7, True), (8, False), (9, False)):
        [entry] = bench.page("lefevere", account=bench.join(serial, NOW)).entries
        assert (entry.account == doctor) is finds, serial


@pytest.mark.parametrize("told", [{"first_ms": NOW}, {"accepted_ms": NOW}])
def test_contacts_find_who_is_found_by_contacts(bench: Bench, told: dict[str, int]) -> None:
    bench.load(NURSE, CARDIOLOGIST)
    nurse, doctor = bench.join(2, NOW), bench.join(1, NOW)
    rule(bench, doctor, found_by="contacts")
    bench.relate(nurse, doctor, first_ms=NOW)
    assert bench.page("lefevere", account=nurse).entries[0].account is None
    bench.relate(doctor, nurse, **told)
    assert bench.page("lefevere", account=nurse).entries[0].account == doctor


def test_a_stranger_to_the_directory_finds_who_is_found_by_anyone(bench: Bench) -> None:
    bench.load(NURSE, CARDIOLOGIST)
    stranger, doctor = bench.join(40, NOW), bench.join(1, NOW)
    assert bench.page("lefevere", account=stranger).entries[0].account == doctor
    rule(bench, doctor, found_by="listed", professions=json.dumps(["10"]))
    assert bench.page("lefevere", account=stranger).entries[0].account is None


def test_the_mailboxes_of_the_red_list_are_not_shown(bench: Bench) -> None:
    town(bench)
    nurse, doctor = bench.join(2, NOW), bench.join(1, NOW)
    assert bench.page("lefevere", account=nurse).entries[0].mailboxes == ("g@x.mssante.fr",)
    rule(bench, doctor, red_listed=True)
    [entry] = bench.page("lefevere", account=nurse).entries
    assert (entry.mailboxes, entry.reach) == ((), "none")
    assert bench.page("lefevere", account=doctor).entries[0].mailboxes
