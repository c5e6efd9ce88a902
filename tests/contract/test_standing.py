"""The contract of `storage.standing`: what a decision stops at once, and what it leaves alone."""

import json

import pytest

from miss_protocol import frames as f
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.audit import operator
from miss_server.storage.standing import Standing, State
from tests.support.devices import DAY_MS, NOW, address
from tests.support.mailing import Store, pair

CLAIRE = operator("claire")
WHY = "Publicité malgré un avertissement."


async def suspend(store: Store, account: AccountAddress) -> None:
    change = await store.set_standing(
        account, State.SUSPENDED, reason=WHY, actor=CLAIRE, now_ms=NOW
    )
    assert change.changed


async def reinstate(store: Store, account: AccountAddress) -> None:
    change = await store.reinstate(account, reason="Réglé.", actor=CLAIRE, now_ms=NOW + 1)
    assert change.changed
    assert not change.still


async def test_a_suspended_account_neither_sends_nor_receives(store: Store) -> None:
    gp, nurse = await pair(store)
    await suspend(store, gp.person.account)
    record = await store.device(gp.id)
    assert record is not None
    assert record.suspended
    assert await store.why_suspended(gp.person.account) == WHY
    assert (await gp.submit(gp.send(nurse.person))).reply is None  # its session is over
    refused = (await nurse.submit(nurse.send(gp.person))).reply
    assert isinstance(refused, f.Refused)
    assert (refused.code, refused.accounts) == ("not_served", (gp.person.account,))
    assert not (await gp.fetch()).rows


async def test_what_waited_is_delivered_after_a_reinstatement(store: Store) -> None:
    gp, nurse = await pair(store)
    await nurse.submit(nurse.send(gp.person))
    await gp.submit(gp.send(nurse.person))
    await suspend(store, gp.person.account)
    assert len((await nurse.fetch()).rows) == 1  # what it had sent before goes its way
    await reinstate(store, gp.person.account)
    assert await store.standing(gp.person.account) is None
    await gp.connect()
    [row] = (await gp.fetch()).rows
    assert not (await gp.ack(1, [gp.receipt(row)])).stale
    assert isinstance((await gp.submit(gp.send(nurse.person))).reply, f.Sent)


async def test_what_waits_for_too_long_expires_and_its_sender_is_told(store: Store) -> None:
    gp, nurse = await pair(store)
    send = nurse.send(gp.person, ttl=3600)
    await nurse.submit(send)
    await suspend(store, gp.person.account)
    assert nurse.id in await store.expire(protected={}, now_ms=NOW + DAY_MS)
    [status] = (await nurse.fetch()).statuses
    assert status.id == send.id
    assert [one.state for one in status.devices] == ["expired"]


async def test_its_sessions_end_by_their_generation(store: Store) -> None:
    gp, nurse = await pair(store)
    before = (await store.heads([gp.id]))[gp.id].generation
    change = await store.set_standing(
        gp.person.account, State.SUSPENDED, reason=WHY, actor=CLAIRE, now_ms=NOW
    )
    assert change.sessions == [(gp.id, before + 1)]
    assert (await store.heads([gp.id]))[gp.id].generation == before + 1
    await nurse.submit(nurse.send(nurse.person, gp.person))
    [*others] = await store.standings()
    assert others == [Standing(gp.person.account, State.SUSPENDED, WHY, NOW, CLAIRE)]


async def test_decisions_give_way_to_each_other_and_each_is_recorded(store: Store) -> None:
    gp, _ = await pair(store)
    account = gp.person.account
    for state in (State.RESTRICTED, State.SUSPENDED, State.SUSPENDED, State.RESTRICTED):
        await store.set_standing(account, state, reason=WHY, actor=CLAIRE, now_ms=NOW)
        record = await store.device(gp.id)
        assert record is not None
        assert record.suspended is (state is State.SUSPENDED)
    await reinstate(store, account)
    again = await store.reinstate(account, reason="", actor=CLAIRE, now_ms=NOW)
    assert not again.changed
    entries = await store.audit_entries(subject=account)
    assert [entry.action for entry in entries if entry.action.startswith("account_")] == [
        "account_restricted",
        "account_suspended",
        "account_restricted",
        "account_reinstated",
    ]
    assert json.loads(entries[-1].detail) == {"was": "restricted", "reason": "Réglé."}
    assert entries[-1].actor == CLAIRE
    assert await store.standings() == []
    assert await store.why_suspended(account) == ""


async def test_a_restricted_account_writes_only_to_who_answered_it(store: Store) -> None:
    gp, nurse = await pair(store)
    written, stranger = await pair(store)
    account = gp.person.account
    assert isinstance((await gp.submit(gp.send(written.person))).reply, f.Sent)
    assert isinstance((await nurse.submit(nurse.send(gp.person))).reply, f.Sent)
    await store.set_standing(account, State.RESTRICTED, reason=WHY, actor=CLAIRE, now_ms=NOW)
    assert isinstance((await gp.submit(gp.send(nurse.person))).reply, f.Sent)  # an answer
    for other in (written, stranger):
        refused = (await gp.submit(gp.send(other.person))).reply
        assert isinstance(refused, f.Refused)
        assert (refused.code, refused.accounts) == ("restricted", (other.person.account,))
    assert isinstance((await written.submit(written.send(gp.person))).reply, f.Sent)
    assert isinstance((await gp.submit(gp.send(written.person))).reply, f.Sent)
    await reinstate(store, account)
    assert isinstance((await gp.submit(gp.send(stranger.person))).reply, f.Sent)


async def test_an_account_that_there_is_not(store: Store) -> None:
    for work in (
        store.set_standing(address(), State.SUSPENDED, reason=WHY, actor=CLAIRE, now_ms=NOW),
        store.reinstate(address(), reason="", actor=CLAIRE, now_ms=NOW),
    ):
        with pytest.raises(Refused) as refused:
            await work
        assert refused.value.code is Code.UNKNOWN_ACCOUNT
    assert await store.audit_entries() == []
