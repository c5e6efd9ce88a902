"""Reads for connections that were rung for: several at a time, never two for the same connection."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from miss_protocol import frames as f
from miss_server.relay import hub as hubs
from miss_server.storage.messages import Fetched, Wanted
from miss_server.storage.settlement.meeting import FirstContacts
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import Hosted, hosted
from tests.support.wire import Device, Line, enrolled


class Slow(SqliteStore):
    """Reads stand while somebody holds them up: `holds` is for whom."""

    def __init__(self, path: Path, first_contacts: FirstContacts) -> None:
        super().__init__(path, first_contacts)
        self.holds: set[bytes] = set()
        self.stands = asyncio.Event()
        self.goes = asyncio.Event()
        self.read_for: list[set[bytes]] = []

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Fetched]:
        devices = {bytes(one.device) for one in wanted}
        self.read_for.append(devices)
        if devices & self.holds and not self.goes.is_set():
            self.stands.set()
            await self.goes.wait()
        return await super().fetch(wanted)


async def written(server: Hosted, writer: Line, sender: Device, reader: Device) -> f.Send:
    """A message that only a read brings to its reader's connection."""
    send = sender.send(reader.person)
    server.services.hub.hand_over = lambda rows: [device for device, _ in rows]  # type: ignore[method-assign]
    assert isinstance(await writer.settle(send), f.Sent)
    return send


async def test_who_is_rung_for_waits_for_no_read_for_others(tmp_path: Path) -> None:
    async with hosted(tmp_path, Slow, sweep_every=3600) as server:
        store = server.store
        assert isinstance(store, Slow)
        gp, nurse, midwife = [await enrolled(server) for _ in range(3)]
        async with gp.online() as writer, nurse.online() as one, midwife.online() as other:
            for line in (writer, one, other):
                await line.caught_up()
            store.holds = {bytes(nurse.id)}
            first = await written(server, writer, gp, nurse)
            await store.stands.wait()
            second = await written(server, writer, gp, midwife)
            [row] = await other.deliveries(1)
            assert row.id == second.id
            store.goes.set()
            [row] = await one.deliveries(1)
            assert row.id == first.id


async def test_for_a_connection_that_is_read_for_no_other_read_begins(tmp_path: Path) -> None:
    async with hosted(tmp_path, Slow, sweep_every=3600) as server:
        store = server.store
        assert isinstance(store, Slow)
        gp, nurse = [await enrolled(server) for _ in range(2)]
        async with gp.online() as writer, nurse.online() as reader:
            await writer.caught_up()
            await reader.caught_up()
            store.holds = {bytes(nurse.id)}
            sent = [await written(server, writer, gp, nurse)]
            await store.stands.wait()
            store.read_for.clear()
            sent.append(await written(server, writer, gp, nurse))
            assert not any(bytes(nurse.id) in devices for devices in store.read_for)
            store.goes.set()
            rows = await reader.deliveries(2)
            assert [row.id for row in rows] == [send.id for send in sent]


async def test_reads_share_the_connections_that_one_may_be_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosted(tmp_path, Slow, sweep_every=3600) as server:
        store = server.store
        assert isinstance(store, Slow)
        gp, nurse, midwife = [await enrolled(server) for _ in range(3)]
        async with gp.online() as writer, nurse.online() as one, midwife.online() as other:
            for line in (writer, one, other):
                await line.caught_up()
            store.holds = {bytes(nurse.id)}
            monkeypatch.setattr(hubs, "ROUND_MAX", 1)
            await written(server, writer, gp, nurse)
            await store.stands.wait()
            store.read_for.clear()
            await written(server, writer, gp, midwife)
            assert not store.read_for  # or a crowd that comes back would be read for all at once
            store.goes.set()
            await one.deliveries(1)
            await other.deliveries(1)
