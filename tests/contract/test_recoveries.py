"""The contract of `storage.recoveries`: a new genesis after a delay, an objection, and their races."""

import asyncio
from dataclasses import replace

import pytest

from miss_protocol import frames as f
from miss_protocol.errors import Code, Refused
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import RosterEntry
from miss_protocol.ids import DeviceId
from miss_server.storage.accounts import Enrolment
from miss_server.storage.audit import operator
from miss_server.storage.messages import SessionRefused
from miss_server.storage.recoveries import Recovered, Recovery
from miss_server.storage.standing import State
from tests.contract.test_accounts import code_of, enrolment
from tests.support.devices import NOW, Person
from tests.support.in_force import Store
from tests.support.mailing import enrol, phone

DELAY = 72 * 3600 * 1000
DUE = NOW + DELAY


async def lost(store: Store) -> Person:
    """Somebody with an account and two devices, none of which is in reach."""
    person = Person()
    await enrol(store, person)  # type: ignore[arg-type]  # it is every interface
    person.add_device()
    await store.change_roster(person.roster, now_ms=NOW)
    return person


async def begin(store: Store, old: Person, code: str = "RECOVERY") -> tuple[Person, Enrolment]:
    """The same person's new genesis, on its way."""
    await store.add_recovery_code(old.account, code, expires_ms=NOW + 1000, now_ms=NOW)
    new = Person(old.account)
    given = enrolment(new, code)
    await store.begin_recovery(given, delay_ms=DELAY, now_ms=NOW)
    return new, given


async def complete(store: Store, now_ms: int = DUE) -> list[Recovered]:
    return list(await store.complete_recoveries(now_ms=now_ms))


async def test_a_new_genesis_takes_the_old_ones_place_after_the_delay(store: Store) -> None:
    old, sender = await lost(store), Person()
    await enrol(store, sender)  # type: ignore[arg-type]
    writing = phone(store, sender)  # type: ignore[arg-type]
    await writing.connect()
    waiting = writing.send(old)
    await writing.submit(waiting)
    new, given = await begin(store, old)
    stands = Recovery(old.account, new.device.certificate.device, NOW, DUE, "waiting")
    assert await store.recovery_of(old.account) == stands
    assert await store.recoveries() == [stands]
    assert await store.begin_recovery(given, delay_ms=1, now_ms=NOW + 5000) == stands
    assert await complete(store, DUE - 1) == []
    chain = await store.rosters(old.account, after=0, now_ms=NOW)
    assert chain is not None
    assert len(chain.rosters) == 2  # until then the old one is in force, and may be written to
    assert await store.device(new.device.certificate.device) is None
    [done] = await complete(store)
    olds = sorted(entry.certificate.device for entry in old.roster.entries)
    assert (done.account, list(done.change.revoked)) == (old.account, olds)
    assert writing.id in done.change.ring
    assert await complete(store) == []
    for after in (0, 1, 2):  # whoever knows the old chain, however far, is shown the new one
        chain = await store.rosters(old.account, after=after, now_ms=DUE)
        assert chain is not None
        assert list(chain.rosters) == [new.roster.encode()]
    account = await store.find(old.account)
    assert account is not None
    assert (account.roster_version, account.devices, account.suspended) == (1, 1, False)
    for device in olds:
        record = await store.device(device)
        assert record is not None
        assert record.revoked
    refused = await store.begin_session(phone(store, old).greeting(), now_ms=DUE)  # type: ignore[arg-type]
    assert isinstance(refused, SessionRefused)
    assert refused.revoked
    [status] = (await writing.fetch()).statuses
    assert {(one.device, one.state) for one in status.devices} == {(d, "revoked") for d in olds}
    fresh = phone(store, new)  # type: ignore[arg-type]
    await fresh.connect(DUE)
    assert await store.recovery_of(old.account) is None
    stood = await store.begin_recovery(given, delay_ms=DELAY, now_ms=DUE)
    assert stood.state == "done"
    settled = await writing.submit(writing.send(old))
    assert isinstance(settled.reply, f.Refused)
    assert settled.reply.code == "stale_roster"
    assert (await store.claim_prekeys([fresh.id], now_ms=DUE)).keys() == {fresh.id}


async def test_any_old_device_may_object_and_then_nothing_comes_of_it(store: Store) -> None:
    old = await lost(store)
    new, given = await begin(store, old)
    second = old.roster.entries[-1].certificate.device
    ended = await store.veto_recovery(old.account, second, now_ms=NOW)
    assert (ended.state, ended.device) == ("vetoed", new.device.certificate.device)
    assert await complete(store) == []
    assert (await store.begin_recovery(given, delay_ms=DELAY, now_ms=NOW)).state == "vetoed"
    assert await code_of(store.veto_recovery(old.account, second, now_ms=NOW)) is Code.NOT_FOUND
    again = enrolment(Person(old.account), "RECOVERY")
    assert await code_of(store.begin_recovery(again, delay_ms=0, now_ms=NOW)) is Code.CODE_USED
    await begin(store, old, "ANOTHER")
    assert (await store.veto_recovery(old.account, None, now_ms=NOW)).state == "cancelled"


async def test_who_is_no_device_of_the_account_may_not_object(store: Store) -> None:
    old, other = await lost(store), await lost(store)
    new, _ = await begin(store, old)
    for device in (other.device.certificate.device, new.device.certificate.device):
        refused = store.veto_recovery(old.account, device, now_ms=NOW)
        assert await code_of(refused) is Code.REVOKED
    await complete(store)
    late = store.veto_recovery(old.account, old.device.certificate.device, now_ms=DUE)
    assert await code_of(late) is Code.REVOKED


async def test_codes_that_recover_nothing(store: Store) -> None:
    old, unenrolled = await lost(store), Person()
    await store.create(None, "Dr Fictif", unenrolled.account, now_ms=NOW)
    for account in (unenrolled.account, Person().account):
        made = store.add_recovery_code(account, "X", expires_ms=NOW + 1, now_ms=NOW)
        assert await code_of(made) is Code.UNKNOWN_ACCOUNT
    assert await code_of(store.account_of_recovery_code("X", now_ms=NOW)) is Code.CODE_UNKNOWN
    await store.add_recovery_code(old.account, "FIRST", expires_ms=NOW + 1000, now_ms=NOW)
    await store.add_recovery_code(old.account, "SECOND", expires_ms=NOW + 1000, now_ms=NOW)
    assert await code_of(store.account_of_recovery_code("FIRST", now_ms=NOW)) is Code.CODE_EXPIRED
    assert (await store.account_of_recovery_code("SECOND", now_ms=NOW)).address == old.account

    async def refused(given: Enrolment, now_ms: int = NOW) -> Code:
        return await code_of(store.begin_recovery(given, delay_ms=DELAY, now_ms=now_ms))

    assert await refused(enrolment(Person(), "SECOND")) is Code.UNTRUSTED
    assert await refused(enrolment(Person(old.account), "SECOND"), NOW + 1000) is Code.CODE_EXPIRED
    assert await refused(replace(enrolment(old, "SECOND"))) in (Code.UNTRUSTED, Code.MALFORMED)
    assert await code_of(store.account_of_code("SECOND", now_ms=NOW)) is Code.CODE_UNKNOWN
    await store.begin_recovery(enrolment(Person(old.account), "SECOND"), delay_ms=DELAY, now_ms=NOW)
    assert await code_of(store.account_of_recovery_code("SECOND", now_ms=NOW)) is Code.CODE_USED


async def test_one_recovery_at_a_time_also_of_two_that_begin_at_once(store: Store) -> None:
    old = await lost(store)
    await store.add_recovery_code(old.account, "FIRST", expires_ms=NOW + 1000, now_ms=NOW)
    people = [Person(old.account) for _ in range(4)]
    done = await asyncio.gather(
        *(
            store.begin_recovery(enrolment(one, "FIRST"), delay_ms=DELAY, now_ms=NOW)
            for one in people
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Recovery) for one in done) == 1
    assert {one.code for one in done if isinstance(one, Refused)} == {Code.CODE_USED}
    await store.add_recovery_code(old.account, "SECOND", expires_ms=NOW + 1000, now_ms=NOW)
    late = enrolment(Person(old.account), "SECOND")
    assert await code_of(store.begin_recovery(late, delay_ms=0, now_ms=NOW)) is Code.RECOVERING
    assert len(await complete(store)) == 1
    # The code was not used up by that: after the first is through, it is a proof like any other.
    assert (await store.begin_recovery(late, delay_ms=0, now_ms=NOW)).state == "waiting"


@pytest.mark.parametrize("_", range(10))
async def test_an_objection_and_the_completion_exclude_each_other(store: Store, _: int) -> None:
    old = await lost(store)
    await begin(store, old)
    device = old.device.certificate.device
    vetoed: list[Recovery] = []

    async def veto() -> None:
        try:
            vetoed.append(await store.veto_recovery(old.account, device, now_ms=DUE))
        except Refused as refused:
            assert refused.code in (Code.NOT_FOUND, Code.REVOKED)  # noqa: PT017  # else re-raised

    completed: list[Recovered] = []

    async def round_of_a_node() -> None:
        completed.extend(await store.complete_recoveries(now_ms=DUE))

    await asyncio.gather(veto(), *(round_of_a_node() for _ in range(3)))
    assert len(vetoed) + len(completed) == 1
    record = await store.device(DeviceId(device))
    assert record is not None
    assert record.revoked is not bool(vetoed)


async def test_a_suspended_account_is_not_recovered_until_it_is_reinstated(store: Store) -> None:
    """Nor then at once: none of its devices could object meanwhile."""
    old, clerk = await lost(store), operator("claire")

    async def suspend(now_ms: int) -> None:
        await store.set_standing(
            old.account, State.SUSPENDED, reason="?", actor=clerk, now_ms=now_ms
        )

    await begin(store, old)
    await suspend(NOW)
    assert await complete(store) == []
    late = DUE + 5
    await store.reinstate(old.account, reason="", actor=clerk, now_ms=late)
    waiting = await store.recovery_of(old.account)
    assert waiting is not None
    assert (waiting.begun_ms, waiting.due_ms) == (late, late + DELAY)
    assert await complete(store, late + DELAY - 1) == []
    assert len(await complete(store, late + DELAY)) == 1
    await suspend(late)
    await store.add_recovery_code(old.account, "LATER", expires_ms=NOW + 1000, now_ms=NOW)
    later = enrolment(Person(old.account), "LATER")
    assert await code_of(store.begin_recovery(later, delay_ms=0, now_ms=NOW)) is Code.SUSPENDED


async def test_a_new_device_that_an_old_one_lets_in_ends_its_recovery(store: Store) -> None:
    old = await lost(store)
    new, given = await begin(store, old)
    old.roster = rosters.succeed(
        old.roster,
        old.device.signing_key,
        old.device.certificate.device,
        add=[RosterEntry(new.device.certificate, "retrouvé", approve=False)],
        now_ms=NOW,
    )
    await store.change_roster(old.roster, now_ms=NOW)
    assert await complete(store) == []
    assert (await store.begin_recovery(given, delay_ms=DELAY, now_ms=DUE)).state == "cancelled"
    assert (await store.audit_entries())[-1].action == "recovery_stopped"
    record = await store.device(old.device.certificate.device)
    assert record is not None
    assert not record.revoked
