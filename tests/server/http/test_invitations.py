"""Inviting over HTTP, and waiting for people: against a real server with a directory."""

from pathlib import Path

import pytest

from miss_protocol import limits
from miss_protocol.invitations import InvitationPage, PersonNamed, Wishes
from miss_protocol.meeting import ReachRules
from tests.support import register
from tests.support.server import ServerProcess, miss_server
from tests.support.wire import Device, beside, code_of, enrolled


def person(serial: int) -> str:
    """An identifier of the fictive register below."""
    return "8" + register.rpps(serial)


@pytest.fixture
def people(server: ServerProcess, tmp_path: Path) -> None:
    """Twenty people in the directory of the server."""
    lines = [register.activity(serial, name=f"Fictif{serial}") for serial in range(1, 21)]
    file = register.write(tmp_path / "PS_LibreAcces_Personne_activite_202611270300.txt", *lines)
    words = ("directory", "import", str(file), "--domain", server.domain)
    miss_server(*words, database=server.database)


async def invite(device: Device, serial: int) -> InvitationPage:
    body = PersonNamed(person(serial))
    return await device.result("POST", "/v1/invitations", body, InvitationPage)


async def listed(device: Device, cursor: str = "") -> InvitationPage:
    path = "/v1/invitations" + (f"?cursor={cursor}" if cursor else "")
    return await device.result("GET", path, None, InvitationPage)


@pytest.mark.usefixtures("people")
async def test_an_account_invites_within_its_budget_and_sees_whom(server: ServerProcess) -> None:
    device = await enrolled(server)
    assert await listed(device) == InvitationPage((), limits.INVITATIONS_PER_DAY, None)
    await invite(device, 1)
    page = await invite(device, 2)
    assert [one.person for one in page.invitations] == [person(2), person(1)]
    assert await invite(device, 1) == page
    assert page.left == limits.INVITATIONS_PER_DAY - 2
    for serial in range(3, limits.INVITATIONS_PER_DAY + 1):
        await invite(device, serial)
    answer = await device.call("POST", "/v1/invitations", PersonNamed(person(20)))
    assert (answer.status_code, code_of(answer)) == (429, "rate_limited")
    assert 86_000 < float(answer.headers["retry-after"]) <= 86_400
    other = await enrolled(server)
    assert (await invite(other, 20)).left == limits.INVITATIONS_PER_DAY - 1
    assert (await listed(device)).left == 0


@pytest.mark.usefixtures("people")
async def test_who_is_no_one_or_there_already_is_not_invited(server: ServerProcess) -> None:
    device, other = await enrolled(server, person=person(1)), await enrolled(server)
    for path in ("/v1/invitations", "/v1/wishes"):
        for caller, whom, code in (
            (device, "899999999999", "not_found"),
            (device, person(1), "on_miss"),
            (other, person(1), "on_miss"),
            (device, "", "malformed"),
            (device, "x" * 97, "malformed"),
            (device, "8\0", "malformed"),
        ):
            answer = await caller.call("POST", path, PersonNamed(whom))
            assert code_of(answer) == code, (path, whom)
    assert (await listed(device)).left == limits.INVITATIONS_PER_DAY


@pytest.mark.usefixtures("people")
async def test_a_wish_is_fulfilled_by_the_first_device(server: ServerProcess) -> None:
    device = await enrolled(server)

    async def wishes() -> Wishes:
        return await device.result("GET", "/v1/wishes", None, Wishes)

    assert await wishes() == Wishes(())
    for serial in (1, 2):
        await device.result("POST", "/v1/wishes", PersonNamed(person(serial)), Wishes)
    first, second = (await wishes()).wishes
    assert (first.person, first.reach, first.account) == (person(1), "none", None)
    assert (first.name, first.profession) == ("Docteur Camille Fictif1", "Médecin")
    assert first.expires == first.at + limits.WISH_TTL * 1000
    joined = await enrolled(server, person=person(1))
    first, again = (await wishes()).wishes
    assert (first.reach, first.account) == ("miss", joined.person.account)
    assert again == second
    left = await device.result("POST", "/v1/wishes/withdraw", PersonNamed(person(1)), Wishes)
    assert [one.person for one in left.wishes] == [person(2)]
    again_left = await device.result("POST", "/v1/wishes/withdraw", PersonNamed(person(1)), Wishes)
    assert again_left == left


@pytest.mark.usefixtures("people")
async def test_who_hides_looks_like_somebody_who_has_not_joined(server: ServerProcess) -> None:
    device, hidden = await enrolled(server), await enrolled(server, person=person(1))
    await hidden.result("PUT", "/v1/reach", ReachRules(found_by="contacts"), ReachRules)
    waiting = await device.result("POST", "/v1/wishes", PersonNamed(person(1)), Wishes)
    [absent] = (await device.result("POST", "/v1/wishes", PersonNamed(person(2)), Wishes)).wishes[
        1:
    ]
    [wish] = waiting.wishes
    assert (wish.reach, wish.account) == (absent.reach, absent.account) == ("none", None)
    page = await invite(device, 1)
    assert page.left == limits.INVITATIONS_PER_DAY - 1
    async with beside(server) as store:
        assert await store.letters() == []  # who has joined gets none, and the inviter is not told
    await hidden.result("PUT", "/v1/reach", ReachRules(), ReachRules)
    [told, _] = (await device.result("GET", "/v1/wishes", None, Wishes)).wishes
    assert (told.reach, told.account) == ("miss", hidden.person.account)


@pytest.mark.usefixtures("people")
async def test_the_list_of_invitations_goes_on_by_its_cursor(server: ServerProcess) -> None:
    device = await enrolled(server)
    await invite(device, 1)
    assert (await listed(device)).next is None
    # No base64, no UTF-8, no number, no person, a number out of reach, a zero byte.
    for cursor in (
        "A",
        "%C3%A9",
        "_w",
        "eCB5",
        "MTI",
        "A" * 300,
        "OTk5OTk5OTk5OTk5OTk5OTkgeA",
        "MSAA",
    ):
        answer = await device.call("GET", f"/v1/invitations?cursor={cursor}")
        assert answer.status_code == 400, (cursor, answer.content)
        assert code_of(answer) == "malformed"
    page = await listed(device, "MSB4")  # "1 x": before everything
    assert page.invitations == ()
