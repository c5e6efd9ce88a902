"""The contract of `storage.invitations`: who may be invited, once, and who waits for whom."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.invitation_tables import invited_people
from miss_server.storage.invitations import Invitations
from miss_server.storage.schema import accounts
from miss_server.storage.sql import settings
from tests.support.devices import DAY_MS, NOW, address
from tests.support.mailing import Store

AVERY, BLAKE = "810000000017", "810000000025"


class Inviting(Store, Invitations):
    """What these tests are given."""

    _write: Any
    read_with: Any


@pytest.fixture(name="it")
def _it(store: Any) -> Inviting:
    given: Inviting = store
    return given


async def doctor(it: Inviting, person: str | None = None) -> AccountAddress:
    """An account that may invite."""
    return await it.create(person, "Dr Fictif", address(), now_ms=NOW)


async def code_of(work: object) -> Code:
    """The code of a refusal; nothing else may come."""
    with pytest.raises(Refused) as refused:
        await work  # type: ignore[misc]  # any of the store's coroutines
    return refused.value.code


async def invited(it: Inviting, account: AccountAddress, now_ms: int = NOW) -> list[str]:
    found, _ = await it.invitations(account, before=None, limit=100, now_ms=now_ms)
    return [one.person for one in found]


async def test_a_person_is_invited_once_by_whoever_repeats_it(it: Inviting) -> None:
    account = await doctor(it)
    for later in (0, 5):
        await it.invite_person(account, AVERY, now_ms=NOW + later)
    found, left = await it.invitations(account, before=None, limit=10, now_ms=NOW)
    assert [(one.person, one.at, one.handed_over) for one in found] == [(AVERY, NOW, None)]
    assert left == limits.INVITATIONS_PER_DAY - 1
    assert await invited(it, await doctor(it)) == []


async def test_the_budget_of_a_day_is_the_accounts_and_comes_back(it: Inviting) -> None:
    account, other = await doctor(it), await doctor(it)
    for number in range(limits.INVITATIONS_PER_DAY):
        await it.invite_person(account, f"p{number}", now_ms=NOW + number)
    with pytest.raises(Refused) as refused:
        await it.invite_person(account, AVERY, now_ms=NOW + 60_000)
    assert refused.value.code is Code.RATE_LIMITED
    assert refused.value.retry_after == (DAY_MS - 60_000) / 1000
    await it.invite_person(account, "p0", now_ms=NOW + 60_000)  # a repetition costs nothing
    await it.invite_person(other, AVERY, now_ms=NOW + 60_000)
    await it.invite_person(account, AVERY, now_ms=NOW + DAY_MS)
    assert await code_of(it.invite_person(account, BLAKE, now_ms=NOW + DAY_MS)) is Code.RATE_LIMITED


async def test_racing_calls_of_one_account_keep_to_its_budget(it: Inviting) -> None:
    account = await doctor(it)
    outcomes = await asyncio.gather(
        *(it.invite_person(account, f"p{number}", now_ms=NOW) for number in range(16)),
        return_exceptions=True,
    )
    lost = [one for one in outcomes if one is not None]
    assert all(isinstance(one, Refused) and one.code is Code.RATE_LIMITED for one in lost)
    assert len(await invited(it, account)) == len(outcomes) - len(lost) == 10


async def test_nobody_is_invited_again_and_again_by_different_people(it: Inviting) -> None:
    accounts = [await doctor(it) for _ in range(limits.INVITATIONS_PER_PERSON + 3)]
    outcomes = await asyncio.gather(
        *(it.invite_person(account, AVERY, now_ms=NOW) for account in accounts),
        return_exceptions=True,
    )
    lost = [one for one in outcomes if one is not None]
    assert all(isinstance(one, Refused) and one.code is Code.NOT_TO_BE_INVITED for one in lost)
    assert len(lost) == 3
    [letter] = await it.letters()
    assert (letter.person, len(letter.inviters)) == (AVERY, limits.INVITATIONS_PER_PERSON)
    # Not even once all of it is forgotten.
    later = NOW + limits.INVITATION_KEPT * 1000
    await it.clean(now_ms=later)
    assert await it.letters() == []
    fresh = await doctor(it)
    assert await code_of(it.invite_person(fresh, AVERY, now_ms=later)) is Code.NOT_TO_BE_INVITED


async def test_who_refuses_is_kept_as_a_hash_and_gets_nothing_more(it: Inviting) -> None:
    account, other = await doctor(it), await doctor(it)
    await it.invite_person(account, AVERY, now_ms=NOW)
    assert await it.refuse_invitations(AVERY, now_ms=NOW) == 1
    assert await it.letters() == []
    assert await code_of(it.invite_person(other, AVERY, now_ms=NOW)) is Code.NOT_TO_BE_INVITED
    assert await it.refuse_invitations(AVERY, now_ms=NOW + 1) == 0
    assert await it.refuse_invitations(BLAKE, now_ms=NOW) == 0  # before anybody thought of it
    assert await code_of(it.invite_person(other, BLAKE, now_ms=NOW)) is Code.NOT_TO_BE_INVITED

    def kept(connection: Connection) -> list[Any]:
        return list(connection.execute(select(invited_people.c.person_hash)).scalars())

    hashes = await it.read_with(kept)
    assert [len(one) for one in hashes] == [32, 32]
    assert not any(AVERY.encode() in bytes(one) for one in hashes)
    assert await it.allow_invitations(AVERY, now_ms=NOW)
    assert not await it.allow_invitations(AVERY, now_ms=NOW)
    await it.invite_person(other, AVERY, now_ms=NOW)
    assert [letter.person for letter in await it.letters()] == [AVERY]


async def test_a_letter_is_handed_over_once_and_names_all_who_invite(it: Inviting) -> None:
    first, second = await doctor(it, "810000000033"), await doctor(it)
    await it.invite_person(second, AVERY, now_ms=NOW + 5)
    await it.invite_person(first, AVERY, now_ms=NOW)
    await it.invite_person(first, BLAKE, now_ms=NOW + 1)
    letters = await it.letters()
    assert [letter.person for letter in letters] == [AVERY, BLAKE]
    assert [one.account for one in letters[0].inviters] == [first, second]
    assert letters[0].inviters[0].person == "810000000033"
    assert letters[0].since_ms == NOW
    assert [letter.person for letter in await it.letters(limit=1)] == [AVERY]
    assert [letter.person for letter in await it.letters(after=AVERY)] == [BLAKE]
    racing = await asyncio.gather(*(it.hand_over(AVERY, now_ms=NOW + 9) for _ in range(4)))
    assert sorted(racing, key=len)[:3] == [[], [], []]
    assert [first, second] in racing
    found, _ = await it.invitations(second, before=None, limit=10, now_ms=NOW)
    assert found[0].handed_over == NOW + 9
    assert [letter.person for letter in await it.letters()] == [BLAKE]
    await it.take_back(AVERY, [second], now_ms=NOW)
    [letter, _] = await it.letters()
    assert [one.account for one in letter.inviters] == [second]


async def test_who_has_joined_gets_no_letter_and_who_is_suspended_sends_none(it: Inviting) -> None:
    inviter, suspended = await doctor(it), await doctor(it)
    joining = await doctor(it, AVERY)
    for account in (inviter, suspended):
        await it.invite_person(account, AVERY, now_ms=NOW)

    async def change(account: AccountAddress, **values: object) -> None:
        statement = update(accounts).where(accounts.c.address == account).values(**values)
        await it._write(lambda connection: connection.execute(statement))

    await change(suspended, suspended=True)
    [letter] = await it.letters()  # an account that nobody has enrolled yet is none
    assert [one.account for one in letter.inviters] == [inviter]
    await change(joining, genesis=bytes(32))
    assert await it.letters() == []
    assert await it.hand_over(AVERY, now_ms=NOW) == []
    found, _ = await it.invitations(inviter, before=None, limit=10, now_ms=NOW)
    assert found[0].handed_over is None  # and nothing else tells the inviter


async def test_invitations_are_listed_in_pages(it: Inviting) -> None:
    account = await doctor(it)
    for number in range(5):
        await it.invite_person(account, f"p{number}", now_ms=NOW + number // 2)
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while True:
        found, _ = await it.invitations(account, before=before, limit=2, now_ms=NOW)
        if not found:
            break
        seen += [one.person for one in found]
        before = (found[-1].at, found[-1].person)
    assert seen == ["p4", "p3", "p2", "p1", "p0"]


async def test_a_wish_lasts_a_year_from_when_it_was_last_made(it: Inviting) -> None:
    account = await doctor(it)
    await it.wish(account, BLAKE, now_ms=NOW)
    await it.wish(account, AVERY, now_ms=NOW + 1)
    await it.wish(account, BLAKE, now_ms=NOW + 2)
    assert [(one.person, one.at_ms) for one in await it.wishes(account, now_ms=NOW)] == [
        (AVERY, NOW + 1),
        (BLAKE, NOW + 2),
    ]
    over = NOW + 1 + limits.WISH_TTL * 1000
    assert [one.person for one in await it.wishes(account, now_ms=over)] == [BLAKE]
    await it.clean(now_ms=over)
    assert [one.person for one in await it.wishes(account, now_ms=NOW)] == [BLAKE]
    for _ in range(2):
        await it.withdraw_wish(account, BLAKE)
    assert await it.wishes(account, now_ms=NOW) == []
    assert await it.wishes(await doctor(it), now_ms=NOW) == []


async def test_wishes_have_a_limit_even_when_they_race(it: Inviting) -> None:
    account = await doctor(it)
    for number in range(limits.WISHES_MAX - 2):
        await it.wish(account, f"p{number}", now_ms=NOW)
    outcomes = await asyncio.gather(
        *(it.wish(account, f"q{number}", now_ms=NOW) for number in range(5)),
        return_exceptions=True,
    )
    lost = [one for one in outcomes if one is not None]
    assert all(isinstance(one, Refused) and one.code is Code.TOO_MANY_WISHES for one in lost)
    assert len(lost) == 3
    await it.wish(account, "p0", now_ms=NOW + 1)  # one that is there can be made anew
    await it.withdraw_wish(account, "p1")
    await it.wish(account, AVERY, now_ms=NOW)


async def test_before_the_upgrade_every_call_is_refused_for_now(it: Inviting) -> None:
    account = await doctor(it)
    await it._write(lambda connection: settings.put(connection, "schema", b"1"))
    for work in (
        it.invite_person(account, AVERY, now_ms=NOW),
        it.invitations(account, before=None, limit=1, now_ms=NOW),
        it.letters(),
        it.hand_over(AVERY, now_ms=NOW),
        it.take_back(AVERY, [account], now_ms=NOW),
        it.refuse_invitations(AVERY, now_ms=NOW),
        it.allow_invitations(AVERY, now_ms=NOW),
        it.wish(account, AVERY, now_ms=NOW),
        it.withdraw_wish(account, AVERY),
        it.wishes(account, now_ms=NOW),
    ):
        assert await code_of(work) is Code.BUSY
    await it.clean(now_ms=NOW)
