"""The reference client's calls when their answer is lost: each is repeated and has happened once.

The server ends at a point of one call, and starts again; the client's caller does as the docstrings
say and calls again. The story goes on to its end: two devices, of which one is removed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from miss_client import Client, ClientError, Store, Trouble, new_device
from miss_client.errors import Unreachable
from miss_client.events import MessageReceived
from miss_client.new_device import JoiningAccount
from tests.clients.conftest import QUICK, until
from tests.crash.stage import Stage
from tests.support.points import CRASHED
from tests.support.wire import new_account

T = TypeVar("T")

CALLS = {
    "preview": ("POST /v1/enrolment/preview", ""),
    "enrol": ("POST /v1/enrolment", "enrol"),
    "invite": ("POST /v1/links/invitations", "invite"),
    "join": ("POST /v1/links", "ask_link"),
    "approve": ("POST /v1/rosters", "change_roster"),
    "approved": ("POST /v1/prekeys", "add_prekeys"),
    "revoke": ("POST /v1/rosters", "change_roster"),
}
"""What a caller calls, the request in which the server ends, and the store's method."""


def points(request: str, operation: str) -> list[str]:
    """Where the server ends in a call."""
    commits = [f"commit.{side} {operation}" for side in ("before", "after")] if operation else []
    return [f"taken {request}", *commits, f"reply.before {request}"]


@dataclass
class Story:
    """A server and clients of two people; `call` makes one call, in which the server may end."""

    stage: Stage
    folder: Path
    armed: str
    point: str
    clients: list[Client] = field(default_factory=list)
    ended: bool = False

    async def call(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and once more if the server ended in it."""
        if name != self.armed:
            return await work()
        await self.stage.server.kill()
        await self.stage.start("--at", self.point)
        with pytest.raises(Unreachable):
            await work()
        assert self.stage.server.process is not None
        assert await self.stage.server.process.wait() == CRASHED
        self.ended = True
        await self.stage.start()
        return await work()

    async def enrol(self, name: str) -> Client:
        """A new account with one device."""
        _, code = await new_account(self.stage.server)
        store = Store.create(self.folder / f"{name}.miss")
        client = await self.call(
            name,
            lambda: new_device.enrol(
                self.stage.server.url,
                code,
                store,
                device_name=name,
                accept_charter=True,
                timing=QUICK,
            ),
        )
        self.clients.append(client)
        return client

    def reopen(self, client: Client) -> Client:
        """The same device in a new process."""
        again = Client.open(Store.open(client.vault.store.path), timing=QUICK)
        self.clients.append(again)
        return again


@pytest.fixture
async def story(
    stage: Stage, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Story]:
    """The story, with the call of the parameter armed."""
    made = Story(stage, tmp_path, *request.param)
    await stage.start()
    yield made
    for client in made.clients:
        await client.close()
    await stage.server.kill()
    assert "Traceback" not in stage.server.log_text()
    stage.check_file()


ARMED = [(name, point) for name, call in CALLS.items() for point in points(*call)]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("story", ARMED, indirect=True, ids="-".join)
async def test_a_lost_answer_costs_nothing(story: Story) -> None:
    gp = await story.enrol("gp")
    nurse = await story.enrol("preview" if story.armed == "preview" else "enrol")
    invitation = await story.call("invite", nurse.invite_device)
    store = Store.create(story.folder / "tablet.miss")

    async def join() -> JoiningAccount:
        return await new_device.join_account(
            story.stage.server.url, invitation.code, store, device_name="tablet", timing=QUICK
        )

    async def approved() -> Client:
        return await (await join()).approved()

    joining = await story.call("join", join)
    await joining.close()
    entry = await story.call("approve", lambda: nurse.approve_device(joining.approval_code))
    tablet = await story.call("approved", approved)
    story.clients.append(tablet)
    assert (entry.name, entry.device) == ("tablet", tablet.vault.device)

    news = tablet.events()
    async with gp, nurse, tablet:
        await gp.wait_for_state(await gp.send([nurse.account], "un"), "delivered")
        await until(news, MessageReceived)
    gp, nurse = story.reopen(gp), story.reopen(nurse)
    await story.call("revoke", lambda: nurse.revoke_device(entry.device))
    async with gp, nurse:
        await gp.wait_for_state(await gp.send([nurse.account], "deux"), "delivered")
        assert [one.text for one in nurse.messages()] == ["un", "deux"]
        assert [one.device for one in nurse.own_devices()] == [nurse.vault.device]
    tablet = story.reopen(tablet)
    async with tablet:
        with pytest.raises(ClientError) as told:
            await tablet.connected()
    assert told.value.trouble is Trouble.DEVICE_OVER
    assert story.ended
