"""Who plays: four fictive clinicians and their devices."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from miss_client.client import Client
from miss_client.demo.narrator import StoryBroken
from miss_client.events import Event, MessageReceived
from miss_client.new_device import enrol, join_account
from miss_client.records import Message, State
from miss_client.store import Store
from miss_client.transport import Timing
from miss_protocol.ids import AccountAddress, MessageId

Condition = Callable[[Event], bool]

PATIENCE = 20.0
"""Seconds for anything in the story; all of it takes less than one on an ordinary machine."""

PEOPLE = {
    "gp": "899000000010",
    "cardiologist": "899000000028",
    "pharmacist": "899000000036",
    "nurse": "899000000044",
}
"""National identifiers of people whom `miss-server directory generate` always makes. Their numbers
begin with 99, which the register does not give out."""


@dataclass
class Device:
    """One device: its store survives `close`, as a phone's does."""

    path: Path
    client: Client
    received: list[MessageReceived] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _listening: asyncio.Task[None] | None = None
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> None:
        """Come online; waits until everything that waited has arrived."""
        await self.come_back()
        await self.drained()

    async def come_back(self) -> None:
        """Start the client, without waiting."""
        if self._listening is not None:
            raise StoryBroken("the device is already online")
        stream = self.client.events()

        async def listen() -> None:
            async for event in stream:
                self.events.append(event)
                if isinstance(event, MessageReceived):
                    self.received.append(event)
                self._grew.set()

        self._listening = asyncio.create_task(listen())
        await self.client.__aenter__()

    async def drained(self) -> None:
        """Wait until everything that waited has arrived."""
        async with asyncio.timeout(PATIENCE):
            await self.client.drained()

    async def close(self) -> None:
        """Go offline, and stand ready to come back from what the store holds."""
        await self.leave()
        self.client = Client.open(Store.open(self.path), timing=Timing())

    async def leave(self) -> None:
        """Go offline for good."""
        await self.client.close()
        if self._listening is not None:
            await self._listening
            self._listening = None

    async def message(self, id: MessageId) -> MessageReceived:
        """Wait for a message."""
        return await self.event(lambda e: isinstance(e, MessageReceived) and e.id == id)  # type: ignore[return-value]  # the condition says so

    async def event(self, wanted: Condition) -> Event:
        """Wait for an event that fits, among past ones too."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                self._grew.clear()
                await self._grew.wait()

    async def becomes(self, id: MessageId, state: State) -> Message:
        """Wait until a message of ours is that far."""
        async with asyncio.timeout(PATIENCE):
            message = await self.client.wait_for_state(id, state)
        if message.state == "failed":
            raise StoryBroken(f"a message failed: {message.reason}")
        return message

    def shown(self, id: MessageId) -> int:
        """How often a message was shown."""
        return sum(1 for event in self.received if event.id == id)

    @property
    def account(self) -> AccountAddress:
        """Whose device it is."""
        return self.client.account


async def first_device(url: str, code: str, path: Path, name: str) -> Device:
    """Enrol an account's first device and bring it online."""
    client = await enrol(url, code, Store.create(path), device_name=name, accept_charter=True)
    device = Device(path, client)
    await device.open()
    return device


async def further_device(url: str, old: Device, path: Path, name: str) -> Device:
    """Join the account of `old`, which approves by the code that the new device shows."""
    invitation = await old.client.invite_device()
    joining = await join_account(url, invitation.code, Store.create(path), device_name=name)
    await old.client.approve_device(joining.approval_code)
    async with asyncio.timeout(PATIENCE):
        device = Device(path, await joining.approved())
    await device.open()
    return device
