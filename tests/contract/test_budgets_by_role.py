"""Budgets of new people that are higher for a profession, or for who acts for an organisation."""

from sqlalchemy import insert, update

from miss_protocol.directory import Entry
from miss_server.storage.organisation_tables import administrators
from miss_server.storage.schema import accounts
from miss_server.storage.settlement.meeting import ADMINISTRATOR, FirstContacts
from tests.contract.test_meeting import people, write
from tests.support.devices import NOW
from tests.support.in_force import put_in_force
from tests.support.mailing import Phone
from tests.support.meeting import MeetingStore

FIRST_CONTACTS = FirstContacts(
    per_hour=1, per_day=4, by_role={"60": (3, 3), "10": (0, 9), ADMINISTRATOR: (2, 6)}
)


async def listed(store: MeetingStore, who: Phone, profession: str) -> None:
    """Put somebody into the directory, alone."""
    address = who.person.account
    person = f"8{address[:11]}"
    await store._write(  # type: ignore[attr-defined]  # both engines have it
        lambda on: on.execute(
            update(accounts).where(accounts.c.address == address).values(person=person)
        )
    )
    entry = Entry(person, "person", "NOM", profession_code=profession)
    await put_in_force(store, [entry])  # type: ignore[arg-type]


async def acts(store: MeetingStore, who: Phone, *, removed: bool = False) -> None:
    row = {
        "organisation": "1599900018",
        "account": who.person.account,
        "given_ms": NOW,
        "removed_ms": NOW if removed else None,
    }
    await store._write(lambda on: on.execute(insert(administrators).values(**row)))  # type: ignore[attr-defined]


async def budget(writer: Phone, others: list[Phone]) -> int:
    """How many it may write to at once, one by one."""
    for count, other in enumerate(others):
        answer, _ = await write(writer, other)
        if answer != "sent":
            assert answer == "budget_spent"
            return count
    return len(others)


async def test_a_profession_and_who_acts_for_an_organisation_may_write_to_more(
    store: MeetingStore,
) -> None:
    nobody, nurse, doctor, secretary, both, former, *others = await people(store, 13)
    assert await budget(nobody, others) == 1
    await listed(store, nurse, "60")
    assert await budget(nurse, others) == 3
    await listed(store, doctor, "10")
    assert await budget(doctor, others) == 1, "a role takes nothing away"
    await acts(store, secretary)
    assert await budget(secretary, others) == 2
    await listed(store, both, "60")
    await acts(store, both)
    assert await budget(both, others) == 3
    await acts(store, former, removed=True)
    assert await budget(former, others) == 1


async def test_the_highest_of_the_roles_counts_an_hour_and_a_day_each(store: MeetingStore) -> None:
    both, *others = await people(store, 9)
    await listed(store, both, "60")
    await acts(store, both)
    sent = 0
    for hour in range(4):
        for other in others[sent : sent + 4]:
            answer, _ = await write(both, other, at=NOW + hour * 3600 * 1000)
            sent += answer == "sent"
    assert sent == 6, "3 an hour of a nurse, 6 a day of an administrator"


async def test_a_budget_of_its_own_counts_whatever_the_role(store: MeetingStore) -> None:
    nurse, *others = await people(store, 6)
    await listed(store, nurse, "60")
    await store.set_budget(nurse.person.account, (2, 2), now_ms=NOW)
    assert await budget(nurse, others) == 2
    await store.set_budget(nurse.person.account, (0, 0), now_ms=NOW + 1)
    [spare] = await people(store, 1)
    assert (await write(nurse, spare))[0] == "too_many_recipients"


async def test_a_role_is_that_of_the_directory_in_force(store: MeetingStore) -> None:
    nurse, *others = await people(store, 6)
    await listed(store, nurse, "60")
    await put_in_force(store, [])  # type: ignore[arg-type]  # left since
    assert await budget(nurse, others) == 1
