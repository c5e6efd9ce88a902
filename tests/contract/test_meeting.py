"""Who may write to whom, the same on every engine: first contacts, stances, blocks, budgets, reach."""

from dataclasses import astuple

import pytest
from sqlalchemy import func, insert, update

from miss_protocol import frames as f
from miss_protocol.directory import Entry, Place
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_protocol.meeting import ReachRules
from miss_server.storage.meeting import Relation
from miss_server.storage.messages import Settled
from miss_server.storage.organisation_tables import organisation_people
from miss_server.storage.schema import accounts
from miss_server.storage.settlement.meeting import FirstContacts
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.in_force import put_in_force
from tests.support.mailing import Phone, enrol, pair, phone, revoke
from tests.support.meeting import MeetingStore

HOUR = 3600 * 1000
FIRST_CONTACTS = FirstContacts()


async def people(store: MeetingStore, count: int) -> list[Phone]:
    """Enrolled people with a device each, by the order of their making."""
    found = []
    for _ in range(count):
        person = Person()
        await enrol(store, person)
        found.append(phone(store, person))
    return found


def code(settled: Settled) -> tuple[str, tuple[str, ...]]:
    """The answer's code, `sent` for none, and whom it names."""
    if isinstance(settled.reply, f.Refused):
        return settled.reply.code, settled.reply.accounts
    assert isinstance(settled.reply, f.Sent)
    assert settled.reply.refused == ()
    return "sent", ()


async def write(
    one: Phone, *others: Phone, at: int = NOW, kind: f.Kind = "message"
) -> tuple[str, tuple[str, ...]]:
    send = one.send(*(other.person for other in others), kind=kind, at=at)
    return code(await one.submit(send, now_ms=at))


async def test_two_messages_may_be_written_before_an_answer(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    assert await write(gp, nurse) == ("sent", ())
    assert await write(gp, nurse) == ("sent", ())
    assert await write(gp, nurse) == ("unanswered", (nurse.person.account,))
    assert len((await nurse.fetch()).rows) == 2  # full messages, at once
    assert await write(nurse, gp) == ("sent", ())
    for _ in range(5):
        assert await write(gp, nurse) == ("sent", ())
    for _ in range(5):
        assert await write(nurse, gp) == ("sent", ())


async def test_an_account_is_one_sender_whichever_its_device(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    gp.person.add_device()
    await store.change_roster(gp.person.roster, now_ms=NOW)
    second = phone(store, gp.person, 1)
    assert await write(gp, nurse) == ("sent", ())
    assert await write(second, nurse) == ("sent", ())
    assert (await write(gp, nurse))[0] == "unanswered"
    assert (await write(second, nurse))[0] == "unanswered"
    assert await write(gp) == ("sent", ())  # to its own other device


async def test_what_arrives_together_is_counted_one_after_the_other(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    sends = [gp.send(nurse.person) for _ in range(3)]
    settled = [await one for one in [gp.submit(send) for send in sends]]
    assert [code(one)[0] for one in settled] == ["sent", "sent", "unanswered"]


async def test_a_control_message_neither_counts_nor_answers(store: MeetingStore) -> None:
    gp, nurse, stranger = await people(store, 3)
    assert await write(gp, nurse) == ("sent", ())
    assert await write(nurse, gp, kind="control") == ("sent", ())
    assert await write(gp, nurse) == ("sent", ())
    # And it is no way round: it may say anything.
    for other, to in ((gp, nurse), (stranger, gp)):
        told = await write(other, to, kind="control")
        assert told == ("unanswered", (to.person.account,))
    assert (await write(gp, nurse))[0] == "unanswered"
    assert await write(nurse, gp) == ("sent", ())
    assert await write(gp, nurse, kind="control") == ("sent", ())


async def test_accepting_lets_write_without_an_answer(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    for expected in ("sent", "sent", "unanswered"):
        assert (await write(gp, nurse))[0] == expected
    found = await store.act(nurse.person.account, gp.person.account, "accept", now_ms=NOW + 5)
    assert (found.wrote_ms, found.written_ms, found.accepted_ms) == (NOW, None, NOW + 5)
    for _ in range(3):
        assert await write(gp, nurse) == ("sent", ())


async def test_who_declines_is_written_to_once_it_writes_or_accepts(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    own, other = nurse.person.account, gp.person.account
    await write(gp, nurse)
    await store.act(own, other, "decline", now_ms=NOW)
    assert await write(gp, nurse) == ("declined", (own,))
    assert (await write(gp, nurse, kind="control"))[0] == "declined"
    await store.act(own, other, "accept", now_ms=NOW)
    assert await write(gp, nurse) == ("sent", ())
    await store.act(own, other, "decline", now_ms=NOW)
    assert await write(gp, nurse) == ("declined", (own,))
    assert await write(nurse, gp) == ("sent", ())
    assert await write(gp, nurse) == ("sent", ())
    assert (await store.relation(own, other)).declined_ms is None


async def test_a_block_is_silence(store: MeetingStore) -> None:
    """To the blocked one everything is as with a device that is off, byte for byte."""
    gp, off, blocker = await people(store, 3)
    await store.act(blocker.person.account, gp.person.account, "block", now_ms=NOW)
    told: dict[bytes, list[object]] = {}
    for other in (off, blocker):
        ids = []
        for expected in ("sent", "sent", "unanswered"):
            send = gp.send(other.person, ttl=60)
            ids.append(send.id)
            assert code(await gp.submit(send))[0] == expected
        told[other.id] = [ids.index(s.id) for s in (await gp.fetch()).statuses]
    assert not (await blocker.fetch()).rows
    assert len((await off.fetch()).rows) == 2
    assert (await store.heads([blocker.id]))[blocker.id].position == 0
    assert told == {off.id: [], blocker.id: []}
    assert not await store.expire(protected={}, now_ms=NOW + 59_000)
    ring = await store.expire(protected={}, now_ms=NOW + 60_000)
    assert set(ring) == {gp.id, off.id}
    statuses = (await gp.fetch()).statuses
    states = [(s.devices[0].device, s.devices[0].state, s.devices[0].at) for s in statuses]
    assert states == [(each.id, "expired", NOW + 60_000) for each in (off, off, blocker, blocker)]
    assert all(not s.devices[0].signature for s in statuses)
    assert not await store.expire(protected={}, now_ms=NOW + 70_000)


async def test_what_was_before_a_block_goes_on_underneath(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    own, other = nurse.person.account, gp.person.account
    await write(gp, nurse)
    await store.act(own, other, "accept", now_ms=NOW)
    await store.act(own, other, "block", now_ms=NOW)
    for _ in range(4):  # as accepted: no third message is refused
        assert await write(gp, nurse) == ("sent", ())
    await store.act(own, other, "unblock", now_ms=NOW)
    await write(gp, nurse)
    assert len((await nurse.fetch()).rows) == 2
    await store.act(own, other, "decline", now_ms=NOW)
    await store.act(own, other, "block", now_ms=NOW)
    assert (await write(gp, nurse))[0] == "declined"  # as before


async def test_a_block_in_a_team_keeps_nothing_from_the_others(store: MeetingStore) -> None:
    gp, nurse, aide = await people(store, 3)
    await store.act(aide.person.account, gp.person.account, "block", now_ms=NOW)
    send = gp.send(nurse.person, aide.person)
    settled = await gp.submit(send)
    assert code(settled) == ("sent", ())
    assert [device for device, _ in settled.rows] == [nurse.id]
    assert not (await aide.fetch()).rows
    assert len((await nurse.fetch()).rows) == 1


async def test_a_blocker_that_changes_devices_stays_silent(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    nurse.person.add_device()
    await store.change_roster(nurse.person.roster, now_ms=NOW)
    await store.act(nurse.person.account, gp.person.account, "block", now_ms=NOW)
    assert await write(gp, nurse) == ("sent", ())
    revoke(nurse.person, phone(store, nurse.person, 1).id)
    change = await store.change_roster(nurse.person.roster, now_ms=NOW + 1)
    assert change.ring == [gp.id]
    [status] = (await gp.fetch()).statuses
    assert sorted(one.state for one in status.devices) == ["revoked", "waiting"]
    nurse.person.add_device()
    await store.change_roster(nurse.person.roster, now_ms=NOW)
    assert await write(gp, nurse) == ("sent", ())
    for index in (0, 2):
        assert not (await phone(store, nurse.person, index).fetch()).rows


async def test_a_budget_of_new_people_an_hour_and_a_day(store: MeetingStore) -> None:
    gp, *others = await people(store, 8)
    await store.set_budget(gp.person.account, (3, 5), now_ms=NOW)
    for other in others[:3]:
        assert await write(gp, other) == ("sent", ())
    assert await write(gp, others[0]) == ("sent", ())  # not new
    refused = await gp.submit(gp.send(others[3].person))
    assert isinstance(refused.reply, f.Refused)
    assert astuple_of(refused.reply) == ("budget_spent", (others[3].person.account,), 3600.0)
    later = NOW + HOUR
    for other in others[3:5]:
        assert await write(gp, other, at=later) == ("sent", ())
    send = gp.send(others[5].person, at=later)
    refused = await gp.submit(send, now_ms=later)
    assert isinstance(refused.reply, f.Refused)
    assert astuple_of(refused.reply)[0] == "budget_spent"
    assert refused.reply.retry_after == DAY_MS / 1000 - 3600
    assert await write(gp, others[5], at=NOW + DAY_MS) == ("sent", ())


def astuple_of(reply: f.Refused) -> tuple[object, ...]:
    return reply.code, reply.accounts, reply.retry_after


async def test_reciprocity_costs_nothing(store: MeetingStore) -> None:
    gp, *others = await people(store, 6)
    await store.set_budget(gp.person.account, (2, 2), now_ms=NOW)
    for other in others[:2]:  # who wrote first is not new
        await write(other, gp)
        assert await write(gp, other) == ("sent", ())
    for other in others[2:4]:
        assert await write(gp, other) == ("sent", ())
    assert (await write(gp, others[4]))[0] == "budget_spent"
    await write(others[2], gp)  # an answer gives back what it cost
    assert await write(gp, others[4]) == ("sent", ())
    await store.set_budget(gp.person.account, None, now_ms=NOW)
    assert await store.budget(gp.person.account) is None


async def test_a_team_is_counted_whole_or_not_at_all(store: MeetingStore) -> None:
    gp, *others = await people(store, 6)
    await store.set_budget(gp.person.account, (3, 9), now_ms=NOW)
    names = sorted(other.person.account for other in others[:4])
    assert await write(gp, *others[:4]) == ("too_many_recipients", tuple(names))
    assert await write(gp, *others[:2]) == ("sent", ())
    assert (await write(gp, *others[2:4]))[0] == "budget_spent"
    assert await write(gp, others[2]) == ("sent", ())


async def test_what_is_refused_costs_nothing(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    for _ in range(3):
        stale = gp.send(nurse.person, rosters=(f.RosterUsed(nurse.person.account, 9),))
        assert code(await gp.submit(stale))[0] == "stale_roster"
    assert (await store.relation(gp.person.account, nurse.person.account)).written_ms is None
    assert await write(gp, nurse) == ("sent", ())
    assert await write(gp, nurse) == ("sent", ())


@pytest.mark.parametrize("whom", ["contacts", "listed"])
async def test_who_may_reach_me(store: MeetingStore, whom: str) -> None:
    known, stranger, guarded = await people(store, 3)
    own = guarded.person.account
    await write(known, guarded)
    await write(guarded, known)
    rules = ReachRules(reached_by=whom, professions=("10",), establishments=("1599900001",))  # type: ignore[arg-type]
    await store.set_reach_rules(own, rules, now_ms=NOW)
    assert await store.reach_rules(own) == rules
    assert await write(stranger, guarded) == ("not_reachable", (own,))
    assert await write(known, guarded) == ("sent", ())  # contacts stay
    assert await write(guarded, stranger) == ("sent", ())
    assert await write(stranger, guarded) == ("sent", ())
    await store.set_reach_rules(own, ReachRules(), now_ms=NOW)
    assert await store.reach_rules(own) == ReachRules()


async def test_who_works_at_a_listed_establishment_reaches_who_lists_it(
    store: MeetingStore,
) -> None:
    here, there, guarded = await people(store, 3)
    hospital, ward = "1590000014", "1590000014.cardiologie"

    def entry(of: Phone, **said: object) -> Entry:
        return Entry(of.person.account[:20], "person", "FICTIF", **said)  # type: ignore[arg-type]

    await store._write(  # type: ignore[attr-defined]  # every engine has it
        lambda on: on.execute(
            update(accounts).values(person=func.substr(accounts.c.address, 1, 20))
        )
    )
    both = (Place(establishment="1620000018"), Place(establishment=hospital))
    await put_in_force(store, [entry(here, places=both), entry(there, places=(Place(),))])  # type: ignore[arg-type]
    own = guarded.person.account
    await store.set_reach_rules(own, ReachRules("listed", establishments=(hospital,)), now_ms=NOW)
    assert await write(here, guarded) == ("sent", ())
    assert await write(there, guarded) == ("not_reachable", (own,))
    await put_in_force(store, [entry(there, part_of=ward)])  # type: ignore[arg-type]
    assert (await write(there, guarded))[0] == "not_reachable"  # a ward is not its hospital
    await store.set_reach_rules(own, ReachRules("listed", establishments=(ward,)), now_ms=NOW)
    assert await write(there, guarded) == ("sent", ())


async def test_whom_an_organisation_ended_is_none_of_its_people(store: MeetingStore) -> None:
    aide, guarded = await people(store, 2)
    home, own = "1590000014", guarded.person.account

    def entry(of: Phone, **said: object) -> Entry:
        return Entry(f"local.{of.person.account[:20]}", "person", "FICTIF", **said)  # type: ignore[arg-type]

    async def end(at: int | None) -> None:
        await store._write(  # type: ignore[attr-defined]
            lambda on: on.execute(update(organisation_people).values(ended_ms=at))
        )

    async def found() -> str | None:
        seen = await store.entry(  # type: ignore[attr-defined]
            entry(guarded).person, account=aide.person.account, now_ms=NOW
        )
        account: str | None = seen.account
        return account

    person = func.substr(accounts.c.address, 1, 20)
    noted = {"organisation": home, "person": entry(aide).person, "since_ms": NOW}
    await store._write(lambda on: on.execute(update(accounts).values(person="local." + person)))  # type: ignore[attr-defined]
    await store._write(lambda on: on.execute(insert(organisation_people).values(**noted)))  # type: ignore[attr-defined]
    await put_in_force(store, [entry(aide, part_of=home), entry(guarded)])  # type: ignore[arg-type]
    rules = ReachRules("listed", "listed", establishments=(home,))
    await store.set_reach_rules(own, rules, now_ms=NOW)
    await end(NOW)  # she keeps her account: a practitioner, say, vouches for her
    assert await write(aide, guarded) == ("not_reachable", (own,))
    assert await found() is None
    await end(None)
    assert await write(aide, guarded) == ("sent", ())
    assert await found() == own


async def test_contacts_and_requests_are_listed_by_pages(store: MeetingStore) -> None:
    gp, *others = await people(store, 5)
    await write(gp, others[0])
    await write(others[1], gp)
    await store.act(gp.person.account, others[2].person.account, "block", now_ms=NOW)
    await store.act(others[3].person.account, gp.person.account, "block", now_ms=NOW)
    found: list[Relation] = []
    after = ""
    while page := await store.relations(gp.person.account, after=after, limit=2):
        found += page
        after = page[-1].peer
    by_peer = {one.peer: one for one in found}
    assert [one.peer for one in found] == sorted(other.person.account for other in others[:3])
    assert by_peer[others[0].person.account].written_ms == NOW
    assert by_peer[others[1].person.account].wrote_ms == NOW
    assert by_peer[others[2].person.account].blocked_ms == NOW
    # What another one says of me is not mine to know.
    mine = await store.relation(gp.person.account, others[3].person.account)
    assert astuple(mine)[3:] == (None,) * 5


async def test_nobody_acts_about_itself_or_about_nobody(store: MeetingStore) -> None:
    gp, _ = await pair(store)
    own = gp.person.account
    with pytest.raises(Refused) as caught:
        await store.act(own, own, "block", now_ms=NOW)
    assert caught.value.code is Code.MALFORMED
    with pytest.raises(Refused) as caught:
        await store.act(own, AccountAddress(address()), "block", now_ms=NOW)
    assert caught.value.code is Code.UNKNOWN_ACCOUNT
    with pytest.raises(Refused) as caught:
        await store.set_budget(AccountAddress(address()), (1, 1), now_ms=NOW)
    assert caught.value.code is Code.UNKNOWN_ACCOUNT


async def test_acts_are_repeatable_and_keep_their_time(store: MeetingStore) -> None:
    gp, nurse = await people(store, 2)
    own, other = gp.person.account, nurse.person.account
    for what, field in (
        ("block", "blocked_ms"),
        ("decline", "declined_ms"),
        ("accept", "accepted_ms"),
    ):
        await store.act(own, other, what, now_ms=NOW + 1)  # type: ignore[arg-type]
        again = await store.act(own, other, what, now_ms=NOW + 2)  # type: ignore[arg-type]
        assert getattr(again, field) == NOW + 1
    assert (again.declined_ms, again.blocked_ms) == (None, None)
