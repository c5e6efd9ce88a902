"""Inviting people and waiting for them: each device tells once, whatever happens in between."""

import pytest

from miss_client import Client, wishes
from miss_client.cli.listen import told
from miss_client.errors import RefusedByServer
from miss_client.events import Joined
from miss_client.records import Waiting
from miss_protocol.errors import Code
from miss_protocol.invitations import Wish
from miss_protocol.invitations import Wishes as WishList
from tests.clients.conftest import World
from tests.clients.test_commands import Miss, enrolled, miss

__all__ = ["miss"]

pytestmark = pytest.mark.timeout(90)


async def joined(client: Client, *, hours: int = 25) -> list[Joined]:
    """Of whom a device tells at a login so long after it last asked."""
    kept = client.vault.waiting
    kept.asked_ms -= hours * wishes.HOUR_MS
    client.vault.put_waiting(kept)
    with client.hub.listening() as queue:
        await client.wishes.look_if_due()
        heard = [queue.get_nowait() for _ in range(queue.qsize())]
    return [event for event in heard if isinstance(event, Joined)]


async def test_each_device_tells_once_of_who_has_joined(world: World) -> None:
    gp = await world.enrol("gp")
    tablet = await world.second(gp)
    person = world.person("cardiologist")
    page = await gp.wishes.invite(person)
    assert [one.person for one in page.invitations] == [person]
    [wish] = (await gp.wishes.wish(person)).wishes
    assert wish.account is None
    cardio = await world.enrol("cardiologist")
    expected = Joined(person, wish.name, cardio.account)
    assert await joined(tablet) == [expected]
    assert await joined(gp, hours=0) == []  # it asked just now, by making the wish
    assert await joined(gp, hours=1) == [expected]
    await gp.close()
    gp = world.reopen(gp)
    assert await joined(gp) == await joined(tablet) == []
    with pytest.raises(RefusedByServer) as refused:
        await gp.wishes.wish(person)
    assert refused.value.code is Code.ON_MISS
    assert cardio.account in told(gp, expected)
    assert (await gp.wishes.withdraw(person)).wishes == ()


def test_a_wish_is_told_once_and_one_made_anew_is_told_anew() -> None:
    kept = Waiting()
    for at, account, open_, tells in (
        (1, "a", 0, 1),
        (1, None, 1, 0),
        (1, "a", 0, 0),
        (2, "a", 0, 1),
    ):
        wish = Wish("8", at, 9, "N", "", "miss" if account else "none", account)
        kept, news = wishes.noted(kept, WishList((wish,)), now_ms=7)
        assert (kept.asked_ms, kept.open, len(news)) == (7, open_, tells), (at, account)
    kept, _ = wishes.noted(kept, WishList(()), now_ms=8)
    assert kept.told == {}


def test_a_device_asks_no_more_often_than_it_should() -> None:
    long_ago, now = Waiting(), 100 * wishes.HOUR_MS
    assert wishes.due(long_ago, now_ms=now)  # a new device of an account that may wait already
    for open_, hours in ((0, 24), (1, 1)):
        kept = Waiting(asked_ms=now, open=open_)
        assert not wishes.due(kept, now_ms=now + hours * wishes.HOUR_MS - 1)
        assert wishes.due(kept, now_ms=now + hours * wishes.HOUR_MS)


async def test_the_commands(world: World, miss: Miss) -> None:
    await enrolled(world, miss, "gp")
    person = world.person("cardiologist")
    assert "wait for nobody" in (await miss("gp", "wishes"))[1]
    exit_code, said = await miss("gp", "invite", "lefevere", "cardio", "--no-tell")
    assert exit_code == 0, said
    assert "9 more today" in said
    assert "wait for nobody" in (await miss("gp", "wishes"))[1]
    assert "9 more today" in (await miss("gp", "invite", person))[1]  # once
    assert "not yet" in (await miss("gp", "wishes"))[1]
    exit_code, said = await miss("gp", "invite", "59000")
    assert (exit_code, "Several fit" in said) == (1, True), said
    exit_code, said = await miss("gp", "invite", "zzzzzz")
    assert (exit_code, "Nobody fits" in said) == (1, True), said
    cardio = await world.enrol("cardiologist")
    assert cardio.account in (await miss("gp", "wishes"))[1]
    exit_code, said = await miss("gp", "invite", person)
    assert (exit_code, "[on_miss]" in said) == (1, True), said
    assert "wait for nobody" in (await miss("gp", "wishes", "--withdraw", person))[1]
    nurse = world.person("nurse")
    assert nurse in (await miss("gp", "wishes", "--add", nurse))[1]
