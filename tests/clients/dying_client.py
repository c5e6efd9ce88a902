"""A client process that ends by SIGKILL at a chosen step of receiving: PATH STEP."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from miss_client import Client, Store
from miss_client.events import MessageReceived
from miss_client.vault import Vault
from miss_protocol.crypto.endpoint import Endpoint


def die() -> None:
    """As a battery that is taken out."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingVault(Vault):
    """Dies when everything is in the transaction and nothing is committed."""

    def _save(self, endpoint: Endpoint) -> None:
        super()._save(endpoint)
        if self.seen.all() and self.messages.all()[-1].text == "before the commit":
            die()


async def main(path: Path, step: str) -> None:
    """Connect and die."""
    store = Store.open(path)
    client = Client(DyingVault(store)) if step == "before the commit" else Client.open(store)
    if step == "after the commit":
        # The events are told between the commit and the ack.
        client.hub.tell = lambda event: die() if isinstance(event, MessageReceived) else None  # type: ignore[method-assign]
    events = client.events()
    async with client:
        await client.drained()
        async for event in events:
            if isinstance(event, MessageReceived):
                break
        # The ack was written to the socket, its answer may be on the way.
        await asyncio.sleep(0)
        die()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
