"""The contract of `storage.messages`: what every engine promises about messages."""

import asyncio
from typing import Any

import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.digest import roll
from miss_protocol.errors import Code
from miss_protocol.identity import prekeys
from miss_protocol.identity.receipts import ReceiptState
from miss_server.storage.messages import NotDurable, SessionRefused, SessionStart
from tests.support.devices import DAY_MS, NOW, Person
from tests.support.mailing import Phone, Store, enrol, pair, phone, revoke


def code_of(settled: object) -> str:
    reply = getattr(settled, "reply", None)
    assert isinstance(reply, f.Refused | f.RetrySend)
    return reply.code


async def test_a_message_waits_for_its_device_and_leaves_only_by_ack(store: Store) -> None:
    gp, cardiologist = await pair(store)
    send = gp.send(cardiologist.person)
    settled = await gp.submit(send)
    assert settled.reply == f.Sent(1, send.id, NOW)
    assert [(device, row.position) for device, row in settled.rows] == [(cardiologist.id, 1)]
    assert not settled.ring
    for _ in range(2):
        found = await phone(store, cardiologist.person).fetch()
        assert [row.message for row in found.rows] == [send.id]
    [row] = (await cardiologist.fetch()).rows
    assert row == settled.rows[0][1]
    assert (row.body, row.wrap) == (send.body, send.wraps[0].wrap)
    acknowledged = await cardiologist.ack(1, [cardiologist.receipt(row)])
    assert [device for device, _ in acknowledged.statuses] == [gp.id]
    assert not (await phone(store, cardiologist.person).fetch()).rows
    [status] = (await gp.fetch()).statuses
    assert status == acknowledged.statuses[0][1]
    assert [(s.device, s.state) for s in status.devices] == [(cardiologist.id, "delivered")]
    assert status.devices[0].signature == cardiologist.receipt(row).signature


async def test_statuses_wait_until_acknowledged_and_the_newest_replaces_the_older(
    store: Store,
) -> None:
    gp, nurse = await pair(store)
    await gp.submit(gp.send(nurse.person))
    [row] = (await nurse.fetch()).rows
    await nurse.ack(1, [nurse.receipt(row)])
    [first] = (await gp.fetch()).statuses
    await nurse.ack(receipts=[nurse.receipt(row, ReceiptState.READ)])
    [second] = (await gp.fetch()).statuses
    assert second.tick > first.tick
    assert [s.state for s in second.devices] == ["read"]
    await gp.ack(tick=first.tick)
    assert len((await gp.fetch()).statuses) == 1
    await gp.ack(tick=second.tick)
    assert not (await gp.fetch()).statuses


async def test_positions_are_contiguous_and_digests_roll(store: Store) -> None:
    gp, cardiologist = await pair(store)
    sends = [gp.send(cardiologist.person) for _ in range(40)]
    await asyncio.gather(*(gp.submit(send) for send in sends))
    digest = cardiologist.digest
    rows = (await cardiologist.fetch()).rows
    assert [row.message for row in rows] == [send.id for send in sends]
    for row in rows:
        digest = roll(digest, row.position, row.row_hash)
        assert row.digest == digest


async def test_fetch_gives_one_row_however_large_and_then_what_fits(store: Store) -> None:
    gp, cardiologist = await pair(store)
    for _ in range(3):
        await gp.submit(gp.send(cardiologist.person))
    assert len((await phone(store, cardiologist.person).fetch(max_bytes=1)).rows) == 1
    assert len((await phone(store, cardiologist.person).fetch(max_bytes=0)).rows) == 0
    one = (await phone(store, cardiologist.person).fetch()).rows[0].size
    assert len((await phone(store, cardiologist.person).fetch(max_bytes=2 * one)).rows) == 2


async def test_a_retry_answers_the_same_and_makes_no_second_message(store: Store) -> None:
    gp, cardiologist = await pair(store)
    send = gp.send(cardiologist.person)
    first = await gp.submit(send)
    again = await asyncio.gather(*(gp.submit(send, NOW + 5) for _ in range(3)))
    assert {repr(a.reply) for a in again} == {repr(first.reply)}
    assert len((await cardiologist.fetch()).rows) == 1


async def test_two_equal_sends_in_one_batch_make_one_message(store: Store) -> None:
    gp, cardiologist = await pair(store)
    send = gp.send(cardiologist.person)
    one, two = await asyncio.gather(gp.submit(send), gp.submit(send))
    assert one.reply == two.reply
    assert len((await cardiologist.fetch()).rows) == 1


async def test_the_same_number_with_another_body_is_refused(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    assert code_of(await gp.submit(gp.send(cardiologist.person, sn=1))) == "sn_reused"
    both = await asyncio.gather(
        gp.submit(gp.send(cardiologist.person, sn=2)), gp.submit(gp.send(cardiologist.person, sn=2))
    )
    assert sorted(type(s.reply).__name__ for s in both) == ["Refused", "Sent"]


async def test_a_number_too_far_ahead_waits_for_the_earlier_ones(store: Store) -> None:
    gp, cardiologist = await pair(store)
    later, earlier = gp.send(cardiologist.person, sn=2), gp.send(cardiologist.person, sn=1)
    settled = await gp.submit(later)
    assert isinstance(settled.reply, f.RetrySend)
    assert settled.reply.code == "out_of_order"
    await gp.submit(earlier)
    assert isinstance((await gp.submit(later)).reply, f.Sent)
    assert [r.message for r in (await cardiologist.fetch()).rows] == [earlier.id, later.id]


async def test_a_refusal_uses_up_its_number_and_is_remembered(store: Store) -> None:
    gp, cardiologist = await pair(store)
    stranger = Person()
    bad = gp.send(stranger)
    refused = await gp.submit(bad)
    assert code_of(refused) == "unknown_account"
    assert (await gp.submit(bad)).reply == refused.reply
    assert isinstance((await gp.submit(gp.send(cardiologist.person))).reply, f.Sent)


async def test_one_senders_refusal_rolls_back_nobody_else(store: Store) -> None:
    gp, cardiologist = await pair(store)
    good, bad = cardiologist.send(gp.person), gp.send(Person())
    settled = await asyncio.gather(cardiologist.submit(good), gp.submit(bad))
    assert isinstance(settled[0].reply, f.Sent)
    assert code_of(settled[1]) == "unknown_account"
    assert len((await gp.fetch()).rows) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"wraps": ()}, "no_recipients"),
        ({"body": b"Bonjour, une question"}, "not_encrypted"),
        ({"body": bytes(limits.BODY_MAX + 1)}, "too_large"),
        ({"at": NOW + 3_600_000}, "clock_skew"),
        ({"at": NOW - 120_000, "ttl": 60}, "expired"),
    ],
)
async def test_sends_that_are_wrong_by_themselves(
    store: Store, change: dict[str, Any], code: str
) -> None:
    gp, cardiologist = await pair(store)
    assert code_of(await gp.submit(gp.send(cardiologist.person, **change))) == code
    assert not (await cardiologist.fetch()).rows


async def test_wraps_must_be_for_exactly_the_devices_of_the_rosters(store: Store) -> None:
    gp, cardiologist = await pair(store)
    other = Person()
    await enrol(store, other)
    good = gp.send(cardiologist.person)
    await gp.submit(good)
    await cardiologist.fetch()
    foreign = f.DeviceWrap(other.device.certificate.device, good.wraps[0].wrap)
    for wraps in ((foreign,), (*good.wraps, foreign), (*good.wraps, *good.wraps)):
        refused = await gp.submit(gp.send(cardiologist.person, wraps=wraps))
        assert code_of(refused) in ("stale_roster", "malformed")
    versions = (
        f.RosterUsed(gp.person.account, 1),
        f.RosterUsed(cardiologist.person.account, 7),
    )
    refused = await gp.submit(gp.send(cardiologist.person, rosters=versions))
    assert code_of(refused) == "stale_roster"
    assert isinstance(refused.reply, f.Refused)
    assert refused.reply.accounts == (cardiologist.person.account,)
    without_own = await gp.submit(gp.send(cardiologist.person, own=False))
    assert code_of(without_own) == "stale_roster"
    assert not (await cardiologist.fetch()).rows


async def test_own_other_devices_are_recipients_and_make_no_noise(store: Store) -> None:
    gp, cardiologist = await pair(store)
    cardiologist.person.add_device()
    await store.change_roster(cardiologist.person.roster, now_ms=NOW)
    tablet = phone(store, cardiologist.person, 1)
    await tablet.connect()
    send = tablet.send(gp.person)
    await tablet.submit(send)
    [copy] = (await cardiologist.fetch()).rows
    assert copy.message == send.id
    await cardiologist.ack(1, [cardiologist.receipt(copy)])
    assert not (await tablet.fetch()).statuses
    [row] = (await gp.fetch()).rows
    await gp.ack(1, [gp.receipt(row)])
    [status] = (await tablet.fetch()).statuses
    assert [s.device for s in status.devices] == [gp.id]


async def test_a_partial_send_goes_to_one_device_only(store: Store) -> None:
    gp, cardiologist = await pair(store)
    cardiologist.person.add_device()
    await store.change_roster(cardiologist.person.roster, now_ms=NOW)
    whole = gp.send(cardiologist.person)
    part = gp.send(cardiologist.person, wraps=whole.wraps[:1], partial=True)
    settled = await gp.submit(gp.send(cardiologist.person, sn=1))
    assert isinstance(settled.reply, f.Sent)
    assert isinstance((await gp.submit(part)).reply, f.Sent)


async def test_a_nack_is_told_and_a_receipt_that_never_was_sent_for_is_not(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    [row] = (await cardiologist.fetch()).rows
    await cardiologist.ack(nacks=[(1, "undecryptable")])
    await cardiologist.ack(1)
    [status] = (await gp.fetch()).statuses
    assert [s.state for s in status.devices] == ["undecryptable"]
    stranger = Person()
    await enrol(store, stranger)
    spy = phone(store, stranger)
    await spy.connect()
    acknowledged = await spy.ack(receipts=[spy.receipt(row)])
    assert list(acknowledged.problems) == [Code.RECEIPT_UNKNOWN]


async def test_an_ack_does_not_overtake_the_nack_before_it(store: Store) -> None:
    """Both wait for others to share a commit with, while a send that hurries passes them."""
    gp, cardiologist = await pair(store)
    for _ in range(2):
        await gp.submit(gp.send(cardiologist.person))
    first, second = (await cardiologist.fetch()).rows
    _, settled, acknowledged = await asyncio.gather(
        cardiologist.ack(nacks=[(1, "undecryptable")]),
        gp.submit(gp.send(cardiologist.person)),
        cardiologist.ack(2, [cardiologist.receipt(second)]),
    )
    assert isinstance(settled.reply, f.Sent)
    assert not acknowledged.problems
    told = {
        status.id: [one.state for one in status.devices] for status in (await gp.fetch()).statuses
    }
    assert told == {first.message: ["undecryptable"], second.message: ["delivered"]}
    assert [row.position for row in (await cardiologist.fetch()).rows] == [3]


async def test_behind_an_acknowledgement_that_failed_none_is_stored(store: Store) -> None:
    """A position is cumulative: it would take the rows of the first without their receipts."""
    gp, nurse = await pair(store)
    for _ in range(2):
        await gp.submit(gp.send(nurse.person))
    first, second = (await nurse.fetch()).rows
    together = await asyncio.gather(
        nurse.ack(1 << 70, [nurse.receipt(first)]),  # no database can count so far
        nurse.ack(second.position, [nurse.receipt(second)]),
        return_exceptions=True,
    )
    assert isinstance(together[0], Exception)
    assert isinstance(together[1], NotDurable)
    with pytest.raises(NotDurable):
        await nurse.ack(second.position)  # of another batch
    assert (await gp.fetch()).statuses == []
    await nurse.connect()
    assert not (
        await nurse.ack(second.position, [nurse.receipt(first), nurse.receipt(second)])
    ).problems
    told = [state for status in (await gp.fetch()).statuses for state in status.devices]
    assert [state.state for state in told] == ["delivered"] * 2
    assert all(state.signature for state in told)


async def test_control_messages_get_no_statuses(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await cardiologist.submit(cardiologist.send(gp.person))  # strangers send none (spec 08 §1)
    await gp.submit(gp.send(cardiologist.person, kind="control"))
    [row] = (await cardiologist.fetch()).rows
    assert row.kind == "control"
    await cardiologist.ack(1)
    assert not (await gp.fetch()).statuses


async def test_a_revoked_device_gets_and_sends_nothing_and_its_senders_hear(store: Store) -> None:
    gp, cardiologist = await pair(store)
    cardiologist.person.add_device()
    await store.change_roster(cardiologist.person.roster, now_ms=NOW)
    tablet = phone(store, cardiologist.person, 1)
    await tablet.connect()
    await gp.submit(gp.send(cardiologist.person))
    revoke(cardiologist.person, tablet.id)
    change = await store.change_roster(cardiologist.person.roster, now_ms=NOW)
    assert list(change.revoked) == [tablet.id]
    assert list(change.ring) == [gp.id]
    [status] = (await gp.fetch()).statuses
    assert {(s.device, s.state) for s in status.devices} == {
        (cardiologist.id, "waiting"),
        (tablet.id, "revoked"),
    }
    assert not (await tablet.fetch()).rows
    assert code_of(await tablet.submit(tablet.send(gp.person))) == "revoked"
    refused = await store.begin_session(tablet.greeting(), now_ms=NOW)
    assert refused == SessionRefused(revoked=True)
    old = gp.send(
        cardiologist.person,
        rosters=(
            f.RosterUsed(gp.person.account, 1),
            f.RosterUsed(cardiologist.person.account, 2),
        ),
    )
    assert code_of(await gp.submit(old)) == "stale_roster"


async def test_an_older_session_of_a_device_changes_nothing_any_more(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    zombie = Phone(store, gp.certificate, gp.person, gp.generation, gp.sn)
    await gp.connect()
    assert (await zombie.submit(zombie.send(cardiologist.person))).reply is None
    old = Phone(store, cardiologist.certificate, cardiologist.person, cardiologist.generation)
    await cardiologist.connect()
    await old.ack(1)
    assert len((await cardiologist.fetch()).rows) == 1


async def test_a_device_behind_its_own_past_is_refused(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    await cardiologist.fetch()
    await cardiologist.ack(1)
    rolled = [phone(store, gp.person), phone(store, cardiologist.person)]
    for one in rolled:
        refused = await store.begin_session(one.greeting(), now_ms=NOW)
        assert refused == SessionRefused(rolled_back=True)


async def test_expired_messages_become_gaps_that_both_ends_see(store: Store) -> None:
    gp, cardiologist = await pair(store)
    for ttl in (60, limits.TTL_DEFAULT, 60):
        await gp.submit(gp.send(cardiologist.person, ttl=ttl))
    later = NOW + 61_000
    assert not await store.expire(protected={cardiologist.id: 3}, now_ms=later)
    rung = await store.expire(protected={cardiologist.id: 1}, now_ms=later)
    assert set(rung) == {gp.id, cardiologist.id}
    await store.expire(protected={}, now_ms=later)
    digests = [row.digest for row in (await phone(store, cardiologist.person).fetch()).rows]
    rows = (await cardiologist.fetch()).rows
    assert [row.gap for row in rows] == ["expired", None, "expired"]
    assert rows[0].body == b""
    assert [row.digest for row in rows] == digests
    states = [s.state for status in (await gp.fetch()).statuses for s in status.devices]
    assert states == ["expired", "expired"]
    await cardiologist.ack(3)
    start = await cardiologist.connect()
    assert start.restored_since is None


async def test_a_signed_delivered_overrides_expired(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person, ttl=60))
    [row] = (await cardiologist.fetch()).rows
    await store.expire(protected={}, now_ms=NOW + 61_000)
    await cardiologist.ack(1, [cardiologist.receipt(row)])
    [status] = (await gp.fetch()).statuses
    assert [s.state for s in status.devices] == ["delivered"]


async def test_dormant_devices_are_left_out_and_told(store: Store) -> None:
    gp, cardiologist = await pair(store)
    later = NOW + 31 * DAY_MS
    await gp.connect(later)
    refused = await gp.submit(gp.send(cardiologist.person, at=later), later)
    assert code_of(refused) == "dormant"
    start = await cardiologist.connect(later)
    assert start.dormant
    settled = await gp.submit(gp.send(cardiologist.person, at=later), later)
    assert isinstance(settled.reply, f.Sent)


async def test_a_full_device_gets_one_gap_and_blocks_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ROWS_MAX", 2)
    gp, cardiologist = await pair(store)
    cardiologist.person.add_device()
    await store.change_roster(cardiologist.person.roster, now_ms=NOW)
    tablet = phone(store, cardiologist.person, 1)
    for _ in range(5):
        settled = await gp.submit(gp.send(cardiologist.person))
        await cardiologist.fetch()
        await cardiologist.ack(cardiologist.position)
    assert isinstance(settled.reply, f.Sent)
    assert settled.reply.refused == (f.DeviceRefused(tablet.id, "mailbox_full"),)
    rows = (await tablet.fetch()).rows
    assert [(row.gap, row.count) for row in rows] == [(None, 1), (None, 1), ("quota", 3)]
    await tablet.connect()
    await tablet.ack(3)
    await gp.submit(gp.send(cardiologist.person))
    assert [row.gap for row in (await tablet.fetch()).rows] == [None]


async def test_a_send_is_refused_when_no_device_of_an_account_has_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILBOX_ROWS_MAX", 1)
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    refused = await gp.submit(gp.send(cardiologist.person))
    assert code_of(refused) == "mailbox_full"
    assert isinstance(refused.reply, f.Refused)
    assert refused.reply.accounts == (cardiologist.person.account,)


async def test_a_database_older_than_its_devices_starts_a_new_epoch(store: Store) -> None:
    gp, cardiologist = await pair(store)
    before = await store.epoch()
    # The device saw positions that this database never gave: it must be an older copy.
    cardiologist.position, cardiologist.digest = 5, b"\x07" * 32
    gp.sn = 9
    start = await store.begin_session(cardiologist.greeting(), now_ms=NOW + 5)
    assert isinstance(start, SessionStart)
    assert start.epoch_changed
    assert start.restored_since == NOW + 5
    assert start.epoch != before
    for _ in range(2):  # no one-time prekey is left, and last resorts are for everybody
        claimed = await store.claim_prekeys([gp.id, cardiologist.id], now_ms=NOW)
        assert [prekeys.decode(one).last_resort for one in claimed.values()] == [True, True]
    assert start.resume_after == 0
    # Sessions of the time that was undone may still be connected, and none counts as current.
    assert cardiologist.generation is not None
    assert start.generation > cardiologist.generation + 1_000_000
    held = await cardiologist.submit(cardiologist.send(gp.person))
    assert held.reply is None  # the generation moved on with the new session
    cardiologist.generation, cardiologist.sn = start.generation, 0
    assert code_of(await cardiologist.submit(cardiologist.send(gp.person))) == "unconfirmed"
    restored = await gp.connect(NOW + 6)
    assert restored.restored_since == NOW + 5
    assert restored.sn == 9
    assert not restored.epoch_changed
    settled = await cardiologist.submit(cardiologist.send(gp.person))
    assert isinstance(settled.reply, f.Sent)
    assert (await gp.connect(NOW + 7)).restored_since is None


async def test_a_roster_that_a_stranger_brings_confirms_nothing(store: Store) -> None:
    gp, cardiologist = await pair(store)
    cardiologist.position, cardiologist.digest = 5, b"\x07" * 32  # of an older copy of the database
    await cardiologist.connect()
    person = gp.person
    for confirms, expected in ((False, "unconfirmed"), (True, "sent")):
        person.add_device()
        await store.change_roster(person.roster, confirms=confirms, now_ms=NOW)
        reply = (await cardiologist.submit(cardiologist.send(person))).reply
        assert isinstance(reply, f.Refused | f.Sent)
        assert getattr(reply, "code", "sent") == expected


async def test_results_are_forgotten_only_after_their_time(store: Store) -> None:
    gp, cardiologist = await pair(store)
    send = gp.send(cardiologist.person)
    await gp.submit(send)
    later = NOW + limits.RESULT_KEPT * 1000 + 1
    await store.clean(now_ms=later)
    assert isinstance((await gp.submit(send)).reply, f.Sent)
    [row] = (await cardiologist.fetch()).rows
    await cardiologist.ack(1, [cardiologist.receipt(row)])
    [status] = (await gp.fetch()).statuses
    await store.clean(now_ms=later)
    assert isinstance((await gp.submit(send)).reply, f.Sent)
    await gp.ack(tick=status.tick)
    assert await store.clean(now_ms=later)
    assert code_of(await gp.submit(send)) == "sn_forgotten"


async def test_heads_tell_positions_and_leave_out_revoked_devices(store: Store) -> None:
    gp, cardiologist = await pair(store)
    await gp.submit(gp.send(cardiologist.person))
    heads = await store.heads([gp.id, cardiologist.id, bytes(16)])  # type: ignore[list-item]
    assert heads == {
        gp.id: (0, 0, gp.generation),
        cardiologist.id: (1, 0, cardiologist.generation),
    }


async def test_of_two_clocks_neither_ends_a_message_alone(store: Store) -> None:
    """A node hands in the later one, and how far apart they are."""
    gp, cardiologist = await pair(store)
    send = gp.send(cardiologist.person, ttl=3600)
    settled = await gp.submit(send, NOW + DAY_MS, unsure_ms=DAY_MS)
    assert settled.reply == f.Sent(1, send.id, NOW + DAY_MS)
    assert not await store.expire(protected={}, now_ms=NOW)
    over = gp.send(cardiologist.person, ttl=3600)
    assert code_of(await gp.submit(over, NOW + DAY_MS, unsure_ms=DAY_MS - 3_600_000)) == "expired"
