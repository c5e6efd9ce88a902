"""The contract of `storage.proofs`: sign-ins from an app's secret to a proof, and what becomes old."""

import asyncio
import base64
import os
from dataclasses import replace
from string import ascii_letters, digits
from typing import cast

import msgspec
import pytest
from sqlalchemy import func, insert, select, update

from miss_protocol.errors import Code, MissError, Refused
from miss_protocol.identity import charter
from miss_protocol.ids import AccountAddress
from miss_server.storage.accounts import Account, Enrolment
from miss_server.storage.postgres.store import PostgresStore
from miss_server.storage.proof_tables import sign_ins as sign_ins_table
from miss_server.storage.proofs import TRIES_MAX, Begun, Proof, Proofs, Shown
from miss_server.storage.schema import accounts
from miss_server.storage.sql import sign_ins
from miss_server.storage.sqlite.store import SqliteStore
from miss_server.storage.standing import State
from tests.support import mailing
from tests.support.devices import NOW, Person, address

MINUTE = 60_000
DAY = 24 * 3600 * 1000
SHOWN = Shown("810000000017", "Dr Fictive", "https://i.example", "us", "a.b.c", "eidas1", NOW)
CODE = "ABCDEFGHJK"


class Store(mailing.Store, Proofs):
    """What these tests are given."""


def enrolment(person: Person) -> Enrolment:
    first = person.device
    accepted = charter.accept(
        first.signing_key, first.certificate, version="1", text_hash=bytes(32), at_ms=NOW
    )
    keys = [*first.new_prekeys(2, now_ms=NOW), first.new_last_resort(now_ms=NOW)]
    return Enrolment("", person.roster, keys, accepted, "test")


async def code_of(work: object) -> Code:
    with pytest.raises(Refused) as refused:
        await work  # type: ignore[misc]  # any of the store's coroutines
    return refused.value.code


async def found(store: Store, account: AccountAddress) -> Account:
    there = await store.find(account)
    assert there is not None
    return there


async def opened(store: Store, person: Person, *, renews: bool = False) -> str:
    expires = NOW + 15 * MINUTE
    if not renews:
        return await store.new_sign_in(person.account, expires_ms=expires)
    secret = os.urandom(8).hex()
    await store.open_renewal(secret, person.account, expires_ms=expires, now_ms=NOW)
    return secret


async def begun(store: Store, secret: str, genesis: bytes = b"") -> str:
    state = os.urandom(8).hex()
    given = Begun("code", genesis, state=state, verifier="v")
    await begin(store, secret, given)
    return state


async def begin(store: Store, secret: str, given: Begun) -> None:
    [refused] = await store.begin_sign_ins([(secret, given)], now_ms=NOW)
    if refused is not None:
        raise refused


async def confirmed(store: Store, person: Person, shown: Shown, *, renews: bool = False) -> str:
    secret = await opened(store, person, renews=renews)
    one = await store.take_state(await begun(store, secret, person.roster.genesis), now_ms=NOW)
    assert await store.note_shown(one, shown, confirmation=CODE)
    assert await store.confirm(secret, CODE, now_ms=NOW)
    return secret


async def test_a_sign_in_founds_an_account_with_its_proof(store: Store) -> None:
    person = Person()
    secret = await opened(store, person)
    assert (await store.sign_in(secret, now_ms=NOW)).stage == "open"
    state = await begun(store, secret, person.roster.genesis)
    one = await store.take_state(state, now_ms=NOW)
    assert (one.account, one.verifier, one.stage) == (person.account, "v", "waiting")
    assert one.genesis == person.roster.genesis
    assert await code_of(store.confirm(secret, CODE, now_ms=NOW)) is Code.OUT_OF_PLACE
    assert await store.note_shown(one, SHOWN, confirmation=CODE)
    assert await code_of(store.finish(secret, enrolment(person), now_ms=NOW)) is Code.OUT_OF_PLACE
    assert not await store.confirm(secret, "WRONG", now_ms=NOW)
    assert await store.confirm(secret, CODE, now_ms=NOW)
    for _ in range(2):
        assert await store.finish(secret, enrolment(person), now_ms=NOW) == person.account
        assert await store.confirm(secret, "anything", now_ms=NOW)
    proof = await store.proof(person.account)
    assert proof is not None
    assert (proof.genesis, proof.token) == (person.roster.genesis, "a.b.c")
    assert (proof.person, proof.level, proof.proved_ms, proof.lapsed) == (
        SHOWN.person,
        "eidas1",
        NOW,
        False,
    )
    account = await store.find(person.account)
    assert account is not None
    assert (account.person, account.name, account.devices) == (SHOWN.person, SHOWN.name, 1)
    done = await store.sign_in(secret, now_ms=NOW + DAY)
    assert (done.stage, done.shown, done.genesis) == ("done", None, b"")


async def test_states_secrets_and_times_end(store: Store) -> None:
    person, late = Person(), NOW + 15 * MINUTE
    secret = await opened(store, person)
    state = await begun(store, secret)
    assert await code_of(store.sign_in("other", now_ms=NOW)) is Code.SIGN_IN_UNKNOWN
    assert await code_of(store.sign_in(secret, now_ms=late)) is Code.SIGN_IN_OVER
    assert await code_of(store.take_state(state, now_ms=late)) is Code.SIGN_IN_OVER
    assert await code_of(store.take_state(secret, now_ms=NOW)) is Code.SIGN_IN_OVER
    newer = await begun(store, secret)
    assert await code_of(store.take_state(state, now_ms=NOW)) is Code.SIGN_IN_OVER
    taken = await asyncio.gather(
        *(store.take_state(newer, now_ms=NOW) for _ in range(4)), return_exceptions=True
    )
    assert len([one for one in taken if not isinstance(one, BaseException)]) == 1
    renewal = await opened(store, person, renews=True)
    await store.open_renewal("a day later", address(), expires_ms=late + 2 * DAY, now_ms=late + DAY)
    assert await code_of(store.sign_in(renewal, now_ms=NOW)) is Code.SIGN_IN_UNKNOWN
    assert await code_of(store.sign_in(secret, now_ms=late)) is Code.SIGN_IN_OVER
    assert await code_of(begun(store, await store.new_sign_in(address(), expires_ms=NOW))) is (
        Code.SIGN_IN_OVER
    )


async def test_a_secret_says_what_it_opens_and_nobody_makes_one(store: Store) -> None:
    person, other = Person(), address()
    expires = NOW + 15 * MINUTE
    secret = await store.new_sign_in(person.account, expires_ms=expires)
    one = await store.sign_in(secret, now_ms=NOW)
    assert (one.account, one.expires_ms, one.stage) == (person.account, expires, "open")
    assert (one.renews, one.shown) == (False, None)
    later = await store.new_sign_in(person.account, expires_ms=expires + 1)
    mixed = (await store.new_sign_in(other, expires_ms=expires))[:20] + secret[20:]
    for forged in (mixed, later[:40] + secret[40:], secret[:-4], "", "!", "é", "A" * 62):
        assert await code_of(store.sign_in(forged, now_ms=NOW)) is Code.SIGN_IN_UNKNOWN
        assert await code_of(begun(store, forged)) is Code.SIGN_IN_UNKNOWN
    assert await code_of(store.confirm(secret, CODE, now_ms=NOW)) is Code.OUT_OF_PLACE


async def test_what_is_begun_at_once_is_one_sign_in_and_the_last_counts(store: Store) -> None:
    secret = await opened(store, Person())
    states = await asyncio.gather(*(begun(store, secret) for _ in range(4)))
    taken = await asyncio.gather(
        *(store.take_state(state, now_ms=NOW) for state in states), return_exceptions=True
    )
    assert len([one for one in taken if not isinstance(one, BaseException)]) == 1


async def test_a_sign_in_founds_no_other_genesis_than_it_was_begun_with(store: Store) -> None:
    person = Person()
    secret = await confirmed(store, person, SHOWN)
    another = enrolment(Person(person.account))
    assert await code_of(store.finish(secret, another, now_ms=NOW)) is Code.UNTRUSTED
    assert await code_of(store.finish(secret, None, now_ms=NOW)) is Code.UNTRUSTED
    assert await store.find(person.account) is None
    assert await store.finish(secret, enrolment(person), now_ms=NOW) == person.account


async def test_what_an_earlier_attempt_led_to_is_dropped(store: Store) -> None:
    secret = await opened(store, Person())
    one = await store.take_state(await begun(store, secret), now_ms=NOW)
    await begun(store, secret)
    assert not await store.note_shown(one, SHOWN, confirmation=CODE)
    await store.note_failed(one, "identity_unproven", "nonce")
    assert (await store.sign_in(secret, now_ms=NOW)).stage == "waiting"
    again = await store.sign_in(secret, now_ms=NOW)
    await store.note_failed(again, "identity_unproven", "nonce")
    told = await store.sign_in(secret, now_ms=NOW)
    assert (told.stage, told.code, told.reason) == ("failed", "identity_unproven", "nonce")
    assert (await store.take_state(await begun(store, secret), now_ms=NOW)).code == ""


async def test_wrong_confirmations_end_it(store: Store) -> None:
    secret = await opened(store, Person())
    one = await store.take_state(await begun(store, secret), now_ms=NOW)
    await store.note_shown(one, SHOWN, confirmation=CODE)
    assert await code_of(begun(store, secret)) is Code.SIGN_IN_OVER
    for _ in range(TRIES_MAX):
        assert not await store.confirm(secret, "WRONG", now_ms=NOW)
    assert await code_of(store.confirm(secret, CODE, now_ms=NOW)) is Code.OUT_OF_PLACE
    told = await store.sign_in(secret, now_ms=NOW)
    assert (told.stage, told.code, told.shown) == ("failed", "confirmation_wrong", None)


async def test_of_several_begun_at_once_one_refused_undoes_no_other(store: Store) -> None:
    first, second = await opened(store, Person()), await opened(store, Person(), renews=True)
    ended = await opened(store, Person())
    await store.note_shown(
        await store.take_state(await begun(store, ended), now_ms=NOW), SHOWN, confirmation=CODE
    )
    late = await store.new_sign_in(Person().account, expires_ms=NOW)
    given = [Begun("code", b"", state=os.urandom(8).hex()) for _ in range(6)]
    secrets = [first, "nobody's", second, late, ended, first]
    some = list(zip(secrets, given, strict=True))
    told = await store.begin_sign_ins(some, now_ms=NOW)
    over = Code.SIGN_IN_OVER
    assert [one and one.code for one in told] == [
        *(None, Code.SIGN_IN_UNKNOWN, None, over, over, None),
    ]
    assert (await store.take_state(given[2].state, now_ms=NOW)).renews
    assert await code_of(store.take_state(given[0].state, now_ms=NOW)) is over
    assert not (await store.take_state(given[5].state, now_ms=NOW)).renews
    assert await store.begin_sign_ins([], now_ms=NOW) == []


async def test_the_same_begun_crosswise_at_once_is_begun(store: Store) -> None:
    secrets = [await opened(store, Person(), renews=bool(n % 2)) for n in range(6)]
    some = [(secret, Begun("code", b"", state=os.urandom(8).hex())) for secret in secrets]
    told = await asyncio.gather(
        *(
            store.begin_sign_ins(some[::-1] if turned else some, now_ms=NOW)
            for turned in (False, True) * 3
        ),
        return_exceptions=True,
    )
    assert told == [[None] * 6] * 6
    assert {(await store.sign_in(secret, now_ms=NOW)).stage for secret in secrets} == {"waiting"}


async def test_a_question_is_polled_by_one_and_in_time(store: Store) -> None:
    secret = await opened(store, Person())
    await begin(store, secret, Begun("ciba", b"", request="r", interval=2, hint="8x"))
    one = await store.sign_in(secret, now_ms=NOW)
    assert (one.request, one.hint) == ("r", "8x")
    assert not await store.may_poll(one, now_ms=NOW + 1999)
    asked = await asyncio.gather(*(store.may_poll(one, now_ms=NOW + 2000) for _ in range(3)))
    assert sorted(asked) == [False, False, True]
    await store.poll_slower(one, 5)
    assert not await store.may_poll(one, now_ms=NOW + 8999)
    assert await store.may_poll(one, now_ms=NOW + 9000)
    assert await store.note_shown(one, SHOWN, confirmation="")
    assert (await store.sign_in(secret, now_ms=NOW)).stage == "confirmed"


async def test_a_person_has_one_account_however_many_sign_in_at_once(store: Store) -> None:
    people = [Person() for _ in range(3)]
    secrets = [await confirmed(store, person, SHOWN) for person in people]
    ends = await asyncio.gather(
        *(
            store.finish(secret, enrolment(person), now_ms=NOW)
            for secret, person in zip(secrets, people, strict=True)
        ),
        return_exceptions=True,
    )
    refused = [one for one in ends if isinstance(one, MissError)]
    assert len(refused) == 2
    assert {getattr(one, "code", None) for one in refused} == {Code.ALREADY_ENROLLED}


async def test_an_account_nobody_founded_gets_the_new_address(store: Store) -> None:
    old, person = address(), Person()
    await store.create(SHOWN.person, "Dr Fictive", old, now_ms=NOW)
    await store.add_code(old, "CODE", expires_ms=NOW + DAY, now_ms=NOW)
    secret = await confirmed(store, person, SHOWN)
    other = enrolment(Person())
    assert await code_of(store.finish(secret, other, now_ms=NOW)) is Code.UNTRUSTED
    assert await store.finish(secret, enrolment(person), now_ms=NOW) == person.account
    assert await store.find(old) is None
    assert (await store.account_of_code("CODE", now_ms=NOW)).address == person.account


@pytest.mark.parametrize("state", list(State))
async def test_a_decision_about_an_account_nobody_founded_goes_along_with_it(
    store: Store, state: State
) -> None:
    old, person = address(), Person()
    await store.create(SHOWN.person, "Dr Fictive", old, now_ms=NOW)
    await store.set_standing(old, state, reason="abus", actor="operator:claire", now_ms=NOW)
    secret = await confirmed(store, person, SHOWN)
    account = await store.finish(secret, enrolment(person), now_ms=NOW)
    assert account == person.account != old
    assert await store.standing(old) is None
    decided = await store.standing(account)
    assert decided is not None
    assert (decided.state, decided.reason) == (state, "abus")
    suspended = state is State.SUSPENDED
    assert await store.why_suspended(account) == ("abus" if suspended else "")
    assert (await found(store, account)).suspended is suspended
    done = await store.reinstate(account, reason="", actor="operator:claire", now_ms=NOW)
    assert (done.changed, done.still) == (True, False)
    assert not (await found(store, account)).suspended


async def test_a_proof_becomes_old_and_a_newer_one_brings_the_account_back(store: Store) -> None:
    person = Person()
    await store.finish(await confirmed(store, person, SHOWN), enrolment(person), now_ms=NOW)
    assert await store.lapse(before_ms=NOW, now_ms=NOW + DAY) == []
    [lapsed] = await store.lapse(before_ms=NOW + 1, now_ms=NOW + DAY)
    assert (lapsed.account, lapsed.devices) == (person.account, (person.device.certificate.device,))
    assert await store.lapse(before_ms=NOW + 1, now_ms=NOW + DAY) == []
    account = await store.find(person.account)
    assert account is not None
    assert account.suspended
    other = replace_person(SHOWN, "810000000025")
    wrong = await confirmed(store, person, other, renews=True)
    assert await code_of(store.finish(wrong, None, now_ms=NOW)) is Code.ANOTHER_PERSON
    newer = Shown(
        SHOWN.person, SHOWN.name, SHOWN.issuer, SHOWN.client, "d.e.f", "eidas2", NOW + DAY
    )
    secret = await confirmed(store, person, newer, renews=True)
    assert await store.finish(secret, None, now_ms=NOW + 1) == person.account
    account, proof = await store.find(person.account), await store.proof(person.account)
    assert account is not None
    assert not account.suspended
    assert proof is not None
    assert (proof.token, proof.level, proof.lapsed) == ("d.e.f", "eidas2", False)
    assert proof.genesis == person.roster.genesis


async def renewed_by_ciba(store: Store, person: Person, shown: Shown) -> Proof:
    """What is kept after the person said yes in the provider's own app."""
    secret = await opened(store, person, renews=True)
    await begin(store, secret, Begun("ciba", b"", request="r", interval=5, hint=SHOWN.person))
    assert await store.note_shown(await store.sign_in(secret, now_ms=NOW), shown, confirmation="")
    assert await store.finish(secret, None, now_ms=NOW) == person.account
    kept = await store.proof(person.account)
    assert kept is not None
    return kept


async def test_what_contacts_cannot_check_takes_no_token_away(store: Store) -> None:
    person = Person()
    signed = msgspec.structs.replace(SHOWN, userinfo="u.s.r")
    await store.finish(await confirmed(store, person, signed), enrolment(person), now_ms=NOW)
    first = await store.proof(person.account)
    assert first is not None
    assert await store.lapse(before_ms=NOW + 1, now_ms=NOW + DAY)
    later = msgspec.structs.replace(SHOWN, issued_ms=NOW + DAY, level="eidas2", token="d.e.f")
    kept = await renewed_by_ciba(store, person, later)
    assert kept == replace(first, proved_ms=NOW + DAY, level="eidas2")
    assert not (await found(store, person.account)).suspended
    unsigned = msgspec.structs.replace(later, issued_ms=NOW + 2 * DAY, token="")
    secret = await confirmed(store, person, unsigned, renews=True)
    await store.finish(secret, None, now_ms=NOW)
    kept = replace(kept, proved_ms=NOW + 2 * DAY)
    assert await store.proof(person.account) == kept
    secret = await confirmed(store, person, later, renews=True)
    await store.finish(secret, None, now_ms=NOW)
    newest = await store.proof(person.account)
    assert newest is not None
    assert (newest.token, newest.userinfo, newest.proved_ms) == ("d.e.f", "", NOW + DAY)


async def test_a_token_of_an_old_genesis_is_not_kept_for_the_new_one(
    store: SqliteStore | PostgresStore,
) -> None:
    person, both = Person(), cast(Store, store)
    await both.finish(await confirmed(both, person, SHOWN), enrolment(person), now_ms=NOW)
    recovered = update(accounts).where(accounts.c.address == person.account)
    await store._write(lambda connection: connection.execute(recovered.values(genesis=bytes(32))))
    kept = await renewed_by_ciba(both, person, SHOWN)
    assert (kept.method, kept.token, kept.genesis) == ("ciba", "", bytes(32))


def replace_person(shown: Shown, person: str) -> Shown:
    return Shown(person, *(getattr(shown, name) for name in shown.__struct_fields__[1:]))


async def test_a_recovered_account_is_not_vouched_for_by_the_token_of_its_old_genesis(
    store: SqliteStore | PostgresStore,
) -> None:
    person = Person()
    secret = await confirmed(store, person, SHOWN)  # type: ignore[arg-type]  # it is one
    await store.finish(secret, enrolment(person), now_ms=NOW)
    recovered = update(accounts).where(accounts.c.address == person.account)
    await store._write(lambda connection: connection.execute(recovered.values(genesis=bytes(32))))
    assert await store.proof(person.account) is None


async def test_accounts_of_codes_have_no_proof_and_never_lapse(store: Store) -> None:
    person = Person()
    await mailing.enrol(store, person)
    assert await store.proof(person.account) is None
    assert await store.lapse(before_ms=NOW + DAY, now_ms=NOW + DAY) == []


async def test_a_beginning_forgets_few_of_those_that_are_over_and_many_forget_all(
    store: SqliteStore | PostgresStore,
) -> None:
    many, late = sign_ins.FORGOTTEN_AT_ONCE * 2 + 1, NOW + 15 * MINUTE
    over = {"account": address(), "stage": "waiting", "expires_ms": NOW}
    rows = [{"id": number.to_bytes(32), **over} for number in range(many)]
    await store._write(lambda connection: connection.execute(insert(sign_ins_table), rows))
    left = select(func.count()).where(sign_ins_table.c.stage == "waiting")
    secret = await store.new_sign_in(address(), expires_ms=late)
    await begun(store, secret)  # type: ignore[arg-type]  # it is one
    counted = []
    for _ in range(3):
        counted.append(
            await store.read_with(lambda connection: connection.execute(left).scalar_one())
        )
        await begun(store, secret)  # type: ignore[arg-type]  # it is one
    assert counted == [sign_ins.FORGOTTEN_AT_ONCE + 2, 2, 1]


async def test_a_secret_has_one_spelling(store: Store) -> None:
    while True:
        secret = await opened(store, Person())
        if "-" in secret and "_" in secret:
            break
    raw = base64.urlsafe_b64decode(f"{secret}==")
    aliases = [secret[:-1] + last for last in ascii_letters + digits if last != secret[-1]]
    aliases = [one for one in aliases if base64.urlsafe_b64decode(f"{one}==") == raw]
    assert aliases
    for alias in (secret.replace("-", "+"), secret.replace("_", "/"), f"{secret}=", *aliases):
        assert await code_of(store.sign_in(alias, now_ms=NOW)) is Code.SIGN_IN_UNKNOWN
        assert await code_of(begun(store, alias)) is Code.SIGN_IN_UNKNOWN
    await begun(store, secret)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_address_that_is_somebody_elses_is_refused(store: Store, *, waits: bool) -> None:
    person = Person()
    secret = await confirmed(store, person, SHOWN)
    await store.create("810000000025", "Dr Autre", person.account, now_ms=NOW)
    if waits:
        await store.create(SHOWN.person, SHOWN.name, address(), now_ms=NOW)
    refused = await code_of(store.finish(secret, enrolment(person), now_ms=NOW))
    assert refused is Code.ALREADY_ENROLLED
