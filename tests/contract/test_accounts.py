"""The contract of `storage.accounts`: what every engine promises about accounts, codes and keys."""

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest

from miss_protocol import limits
from miss_protocol.directory import normalise
from miss_protocol.errors import Code, Malformed, MissError, Refused, Untrusted
from miss_protocol.identity import charter
from miss_protocol.identity import prekeys as prekey
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.identity.roster import Roster, RosterEntry
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import CodeOrder, Enrolment, Link
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.mailing import Store, enrol, pair, phone, revoke


def enrolment(person: Person, code: str) -> Enrolment:
    """What a person's first device brings."""
    first = person.device
    accepted = charter.accept(
        first.signing_key, first.certificate, version="1", text_hash=bytes(32), at_ms=NOW
    )
    keys = [*first.new_prekeys(2, now_ms=NOW), first.new_last_resort(now_ms=NOW)]
    return Enrolment(code, person.roster, keys, accepted, "test")


async def invited(store: Store, person: Person, code: str = "CODE", ttl: int = 1000) -> None:
    """An account with a code."""
    await store.create(None, "Dr Fictif", person.account, now_ms=NOW)
    await store.add_code(person.account, code, expires_ms=NOW + ttl, now_ms=NOW)


async def code_of(work: object) -> Code:
    """The code of a refusal; nothing else may come."""
    with pytest.raises(Refused) as refused:
        await work  # type: ignore[misc]  # any of the store's coroutines
    return refused.value.code


async def test_a_person_has_one_account(store: Store) -> None:
    first = await store.create("810000000017", "Dr Fictif", address(), now_ms=NOW)
    again = await store.create("810000000017", "Another name", address(), now_ms=NOW + 1)
    assert again == first
    other = await store.create(None, "Dr Fictif", address(), now_ms=NOW)
    assert other != first
    account = await store.find(first)
    assert account is not None
    assert (account.person, account.enrolled, account.devices) == ("810000000017", False, 0)
    assert (account.seen_ms, account.created_ms, account.roster_version) == (None, NOW, 0)
    assert await store.find(address()) is None


async def test_accounts_are_listed_in_pages(store: Store) -> None:
    made = sorted([await store.create(None, "x", address(), now_ms=NOW) for _ in range(5)])
    first = await store.listing(limit=3)
    rest = await store.listing(after=first[-1].address, limit=3)
    assert [account.address for account in (*first, *rest)] == made


async def test_accounts_are_found_by_beginnings_of_their_names(store: Store) -> None:
    people = {
        "Dr Hélène LŒWENTHAL": "810000000017",
        "Helena Loew-Durand": None,
        "Mme Anne DUPONT": "local.members.s-12",
        "Anne Martin": "3990000018/12",
    }
    made = {
        name: await store.create(person, name, address(), now_ms=NOW)
        for name, person in people.items()
    }

    async def found(text: str, **page: Any) -> set[str]:
        accounts = await store.listing(words=normalise(text), **page)
        assert [one.address for one in accounts] == sorted(one.address for one in accounts)
        assert all(made[one.name] == one.address for one in accounts)
        return {one.name for one in accounts}

    assert await found("") == people.keys()
    assert await found("HÉLÈNE") == {"Dr Hélène LŒWENTHAL"}
    assert await found("hele") == {"Dr Hélène LŒWENTHAL", "Helena Loew-Durand"}
    assert await found("loewen helene") == {"Dr Hélène LŒWENTHAL"}
    assert await found("durand") == {"Helena Loew-Durand"}
    assert await found("ene") == set()
    assert await found("anne mar") == {"Anne Martin"}
    assert await found("8100000000") == {"Dr Hélène LŒWENTHAL"}
    assert await found("local.members.s-12") == {"Mme Anne DUPONT"}
    assert await found("3990000018/12") == {"Anne Martin"}
    first, last = sorted((made["Mme Anne DUPONT"], made["Anne Martin"]))
    assert [one.address for one in await store.listing(words=["anne"], limit=1)] == [first]
    [rest] = await store.listing(words=["anne"], after=first)
    assert (rest.address, rest.devices, rest.seen_ms) == (last, 0, None)


async def test_many_of_a_name_are_found_page_by_page(store: Store) -> None:
    made = [
        await store.create(None, "Anne", AccountAddress(f"{n:026d}@miss.example"), now_ms=NOW)
        for n in range(510)
    ]
    assert [one.address for one in await store.listing(words=["an"], limit=2000)] == made


async def test_a_code_is_used_once_and_a_repeat_is_the_same(store: Store) -> None:
    person = Person()
    await invited(store, person)
    given = enrolment(person, "CODE")
    assert (await store.account_of_code("CODE", now_ms=NOW)).address == person.account
    for _ in range(2):
        assert await store.enrol(given, now_ms=NOW) == person.account
    assert await code_of(store.account_of_code("CODE", now_ms=NOW)) is Code.CODE_USED
    thief = Person(person.account)
    assert await code_of(store.enrol(enrolment(thief, "CODE"), now_ms=NOW)) is Code.CODE_USED
    account = await store.find(person.account)
    assert account is not None
    assert (account.enrolled, account.roster_version, account.devices) == (True, 1, 1)
    assert account.seen_ms == NOW


async def test_codes_that_do_not_work(store: Store) -> None:
    person = Person()
    await invited(store, person, "FIRST")
    assert await code_of(store.account_of_code("OTHER", now_ms=NOW)) is Code.CODE_UNKNOWN
    assert await code_of(store.enrol(enrolment(person, "OTHER"), now_ms=NOW)) is Code.CODE_UNKNOWN
    await store.add_code(person.account, "SECOND", expires_ms=NOW + 1000, now_ms=NOW)
    assert await code_of(store.account_of_code("FIRST", now_ms=NOW)) is Code.CODE_EXPIRED
    late = NOW + 1000
    assert await code_of(store.enrol(enrolment(person, "SECOND"), now_ms=late)) is Code.CODE_EXPIRED
    foreign = enrolment(Person(), "SECOND")
    assert await code_of(store.enrol(foreign, now_ms=NOW)) is Code.UNTRUSTED
    await store.enrol(enrolment(person, "SECOND"), now_ms=NOW)
    await store.add_code(person.account, "THIRD", expires_ms=NOW + 1000, now_ms=NOW)
    again = enrolment(Person(person.account), "THIRD")
    assert await code_of(store.enrol(again, now_ms=NOW)) is Code.ALREADY_ENROLLED


def order(person: str, code: str, name: str = "Dr Fictif") -> CodeOrder:
    return CodeOrder(person, name, address(), code, NOW + 1000)


async def test_codes_for_many_are_made_together_and_end_earlier_ones(store: Store) -> None:
    enrolled = Person()
    opened = await store.create("810000000017", "Dr Fictif", address(), now_ms=NOW)
    await store.add_code(opened, "EARLIER", expires_ms=NOW + 1000, now_ms=NOW)
    await store.create("810000000025", "Dr Fictif", enrolled.account, now_ms=NOW)
    await store.add_code(enrolled.account, "FIRST", expires_ms=NOW + 1000, now_ms=NOW)
    await store.enrol(enrolment(enrolled, "FIRST"), now_ms=NOW)
    many = [order(f"local.x.{number}", f"CODE{number}") for number in range(1200)]
    ordered = [order("810000000025", "NEVER"), order("810000000017", "LATER"), *many]
    found = await store.issue_codes(ordered, now_ms=NOW)
    assert found[:2] == [None, opened]
    assert found[2:] == [one.address for one in many]
    assert await code_of(store.account_of_code("NEVER", now_ms=NOW)) is Code.CODE_UNKNOWN
    assert await code_of(store.account_of_code("EARLIER", now_ms=NOW)) is Code.CODE_EXPIRED
    assert (await store.account_of_code("LATER", now_ms=NOW)).address == opened
    last = await store.account_of_code("CODE1199", now_ms=NOW)
    assert (last.address, last.person) == (many[-1].address, "local.x.1199")
    again = await store.issue_codes([order("local.x.7", "ANEW")], now_ms=NOW)
    assert again == [many[7].address]
    assert await code_of(store.account_of_code("CODE7", now_ms=NOW)) is Code.CODE_EXPIRED
    assert await store.issue_codes([], now_ms=NOW) == []


async def test_of_many_codes_all_are_made_or_none(store: Store) -> None:
    twice = [order("local.x.1", "SAME"), order("local.x.2", "SAME")]
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.issue_codes(twice, now_ms=NOW)
    assert await code_of(store.account_of_code("SAME", now_ms=NOW)) is Code.CODE_UNKNOWN
    assert await store.listing() == []


async def test_a_device_id_in_use_enrols_nobody(store: Store) -> None:
    first, second = Person(), Person()
    await enrol(store, first)
    await invited(store, second)
    stolen = replace(
        enrolment(second, "CODE"),
        roster=replace(
            second.roster,
            entries=(
                RosterEntry(
                    replace(second.device.certificate, device=first.device.certificate.device),
                    "x",
                    True,
                ),
            ),
        ),
    )
    assert await code_of(store.enrol(stolen, now_ms=NOW)) is Code.UNTRUSTED


async def test_codes_are_forgotten_long_after_their_end(store: Store) -> None:
    person = Person()
    await invited(store, person)
    await store.clean(now_ms=NOW + 30 * DAY_MS)
    assert await code_of(store.account_of_code("CODE", now_ms=NOW + DAY_MS)) is Code.CODE_EXPIRED
    await store.clean(now_ms=NOW + 92 * DAY_MS)
    assert await code_of(store.account_of_code("CODE", now_ms=NOW)) is Code.CODE_UNKNOWN


async def test_an_invitation_takes_one_certificate_of_its_account(store: Store) -> None:
    person, stranger = Person(), Person()
    await enrol(store, person)
    await store.invite(person.account, "LINK", expires_ms=NOW + 1000, now_ms=NOW)
    assert (await store.account_of_invitation("LINK", now_ms=NOW)).address == person.account
    new = Link(person.make_device().certificate, "tablette", NOW)
    foreign = Link(stranger.device.certificate, "x", NOW)
    assert await code_of(store.ask_link("LINK", foreign, now_ms=NOW)) is Code.UNTRUSTED
    for _ in range(2):
        await store.ask_link("LINK", new, now_ms=NOW)
    other = Link(person.make_device().certificate, "x", NOW)
    assert await code_of(store.ask_link("LINK", other, now_ms=NOW)) is Code.CODE_USED
    assert await store.links(person.account, now_ms=NOW) == [new]
    assert await store.links(person.account, now_ms=NOW + 1000) == []
    for work in (
        store.account_of_invitation("LINK", now_ms=NOW + 1000),
        store.ask_link("LINK", new, now_ms=NOW + 1000),
    ):
        assert await code_of(work) is Code.CODE_EXPIRED
    assert await code_of(store.account_of_invitation("?", now_ms=NOW)) is Code.CODE_UNKNOWN
    await store.clean(now_ms=NOW + 1000)
    assert await code_of(store.account_of_invitation("LINK", now_ms=NOW)) is Code.CODE_UNKNOWN


async def test_rosters_follow_one_another_and_nothing_else(store: Store) -> None:
    person = Person()
    await enrol(store, person)
    founding = person.roster
    new = person.make_device()
    await store.invite(person.account, "LINK", expires_ms=NOW + 1000, now_ms=NOW)
    await store.ask_link("LINK", Link(new.certificate, "tablette", NOW), now_ms=NOW)
    second = rosters.succeed(
        founding,
        person.device.signing_key,
        person.device.certificate.device,
        add=[RosterEntry(new.certificate, "tablette", False)],
        now_ms=NOW,
    )
    change = await store.change_roster(second, now_ms=NOW)
    assert (list(change.added), list(change.revoked)) == ([new.certificate.device], [])
    assert await store.links(person.account, now_ms=NOW) == []
    again = await store.change_roster(second, now_ms=NOW)
    assert (again.added, again.revoked, again.ring) == ((), (), ())
    assert await code_of(store.change_roster(founding, now_ms=NOW)) is Code.ROSTER_CONFLICT
    with pytest.raises(Untrusted):
        await store.change_roster(
            replace(second, version=3, previous=second.hash, signature=bytes(64)), now_ms=NOW
        )
    nobody = Person().roster
    assert await code_of(store.change_roster(nobody, now_ms=NOW)) is Code.UNKNOWN_ACCOUNT
    chain = await store.rosters(person.account, after=0, now_ms=NOW)
    assert chain is not None
    assert list(chain.rosters) == [founding.encode(), second.encode()]
    assert await store.rosters(address(), after=0, now_ms=NOW) is None
    unenrolled = await store.create(None, "x", address(), now_ms=NOW)
    assert await store.rosters(unenrolled, after=0, now_ms=NOW) is None


async def test_racing_rosters_have_one_winner(store: Store) -> None:
    person = Person()
    await enrol(store, person)

    def proposal() -> Roster:
        return rosters.succeed(
            person.roster,
            person.device.signing_key,
            person.device.certificate.device,
            add=[RosterEntry(person.make_device().certificate, "x", False)],
            now_ms=NOW,
        )

    proposals = [proposal() for _ in range(6)]
    outcomes = await asyncio.gather(
        *(store.change_roster(one, now_ms=NOW) for one in proposals), return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, MissError)]
    assert len(lost) == 5
    assert all(isinstance(e, Refused) and e.code is Code.ROSTER_CONFLICT for e in lost)


async def test_dormant_devices_are_told_with_the_chain(store: Store) -> None:
    person = Person()
    await enrol(store, person)
    later = NOW + limits.DORMANT_AFTER * 1000 + 1
    chain = await store.rosters(person.account, after=0, now_ms=later)
    assert chain is not None
    assert list(chain.dormant) == [person.device.certificate.device]
    await phone(store, person).connect(later)
    chain = await store.rosters(person.account, after=0, now_ms=later)
    assert chain is not None
    assert chain.dormant == []


async def test_each_one_time_prekey_goes_out_once_under_concurrent_claims(store: Store) -> None:
    person = Person()
    await enrol(store, person)
    device = person.device.certificate.device
    fresh = person.device.new_prekeys(47, now_ms=NOW)
    assert await store.add_prekeys(device, fresh, now_ms=NOW) == (50, fresh[-1].id)
    claims = await asyncio.gather(
        *(store.claim_prekeys([device, device], now_ms=NOW) for _ in range(200))
    )
    given = [prekey.decode(claim[device]) for claim in claims]
    once = [key.id for key in given if not key.last_resort]
    assert len(once) == len(set(once)) == 50
    assert len({key.id for key in given if key.last_resort}) == 1
    assert await store.count_prekeys(device) == (0, fresh[-1].id)
    # Not even its owner can bring a used one back.
    assert await store.add_prekeys(device, fresh, now_ms=NOW) == (0, fresh[-1].id)
    [claim] = [await store.claim_prekeys([device], now_ms=NOW)]
    assert prekey.decode(claim[device]).last_resort


async def test_prekeys_ids_only_rise(store: Store) -> None:
    person = Person()
    await enrol(store, person)
    device, key = person.device.certificate.device, person.device.signing_key
    [new] = person.device.new_prekeys(1, now_ms=NOW)

    def numbered(number: int) -> SignedPrekey:
        return prekey.issue(key, device, number, new.otk, new.pq, last_resort=False)

    _, high = await store.count_prekeys(device)
    for keys in ([numbered(high)], [numbered(high + 1), numbered(1)]):
        stale = store.add_prekeys(device, keys, now_ms=NOW)
        assert await code_of(stale) is Code.PREKEYS_STALE
    for keys in ([numbered(high + 1)] * 2, [numbered(2**53)]):
        wrong = store.add_prekeys(device, keys, now_ms=NOW)
        with pytest.raises((Malformed, Refused)) as refused:
            await wrong
        assert refused.value.code is Code.MALFORMED
    last = person.device.new_last_resort(now_ms=NOW)
    await store.add_prekeys(device, [last], now_ms=NOW)
    for _ in range(3):
        await store.claim_prekeys([device], now_ms=NOW)
    claimed = await store.claim_prekeys([device], now_ms=NOW)
    assert prekey.decode(claimed[device]) == last
    assert await store.add_prekeys(device, [], now_ms=NOW) == (0, last.id)


async def test_revoked_and_unknown_devices_have_no_prekeys(store: Store) -> None:
    person = Person()
    await enrol(store, person)
    tablet = person.add_device()
    await store.change_roster(person.roster, now_ms=NOW)
    device = tablet.certificate.device
    await store.add_prekeys(device, tablet.new_prekeys(1, now_ms=NOW), now_ms=NOW)
    revoke(person, device)
    await store.change_roster(person.roster, now_ms=NOW)
    unknown = DeviceId(os.urandom(16))
    assert await store.claim_prekeys([device, unknown], now_ms=NOW) == {}


async def test_a_nonce_counts_once_for_each_device_until_its_time(store: Store) -> None:
    gp, doctor = await pair(store)
    assert await store.use_nonce(gp.id, "n", expires_ms=NOW + 10)
    assert not await store.use_nonce(gp.id, "n", expires_ms=NOW + 20)
    assert await store.use_nonce(doctor.id, "n", expires_ms=NOW + 10)
    await store.clean(now_ms=NOW + 9)
    assert not await store.use_nonce(gp.id, "n", expires_ms=NOW + 20)
    await store.clean(now_ms=NOW + 10)
    assert await store.use_nonce(gp.id, "n", expires_ms=NOW + 20)
    racing = await asyncio.gather(
        *(store.use_nonce(gp.id, "race", expires_ms=NOW + 10) for _ in range(9))
    )
    assert racing.count(True) == 1


async def test_an_accepted_charter_is_told_at_login(store: Store) -> None:
    gp, _ = await pair(store)
    assert (await gp.connect()).charter == "1"
    newer = charter.accept(
        gp.person.device.signing_key,
        gp.certificate,
        version="2",
        text_hash=bytes(32),
        at_ms=NOW + 5,
    )
    for _ in range(2):
        await store.sign_charter(newer, now_ms=NOW + 5)
    assert (await gp.connect()).charter == "2"
