"""Looking devices up together: who asks late, who goes away, and what fails."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from miss_protocol.ids import DeviceId
from miss_server.storage import lookups
from miss_server.storage.lookups import Lookups
from miss_server.storage.messages import DeviceRecord
from miss_server.storage.sqlite import devices

ABSENT = DeviceId(bytes(16))


class Reader:
    """Reads in the loop, when it is let; counts how often."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.reads = 0
        self.begun = asyncio.Event()
        self.let = asyncio.Event()

    async def read(self, wanted: Sequence[DeviceId]) -> list[DeviceRecord | None]:
        self.reads += 1
        self.begun.set()
        await self.let.wait()
        return devices.find(self.db, wanted)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as made:
        fill(made)
        yield made


def fill(made: sqlite3.Connection) -> None:
    made.executescript(
        "CREATE TABLE devices (id, account, signing_key, revoked_ms);"
        "CREATE TABLE accounts (address, suspended, roster_version);"
        "INSERT INTO accounts VALUES ('account', 0, 3), ('other', 1, 1);"
    )
    for n in range(100):
        account = "other" if n == 7 else "account"
        row = (n.to_bytes(16, "big"), account, b"key", 1 if n == 5 else None)
        made.execute("INSERT INTO devices VALUES (?, ?, ?, ?)", row)
    made.execute("DELETE FROM devices WHERE id = ?", (ABSENT,))


async def test_who_asks_meanwhile_shares_the_next_read(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "AT_ONCE", 60)
    reader = Reader(db)
    looking = Lookups(reader.read)
    first = asyncio.create_task(looking.find(ABSENT))
    await reader.begun.wait()
    ids = [DeviceId(n.to_bytes(16, "big")) for n in range(1, 100)]
    others = [asyncio.create_task(looking.find(id)) for id in ids]
    await asyncio.sleep(0)  # each of them has asked
    others[1].cancel()
    reader.let.set()
    assert await first is None
    found = [await one for n, one in enumerate(others) if n != 1]
    assert reader.reads == 3
    assert [one.id for one in found if one] == [id for n, id in enumerate(ids) if n != 1]
    assert [one.id for one in found if one and one.revoked] == [ids[4]]
    assert [one.id for one in found if one and one.suspended] == [ids[6]]
    assert {one.roster_version for one in found if one and not one.suspended} == {3}


async def test_what_fails_fails_for_those_who_wait_too(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "AT_ONCE", 2)
    reader = Reader(db)
    looking = Lookups(reader.read)
    db.execute("ALTER TABLE devices RENAME TO away")
    asked = [asyncio.create_task(looking.find(ABSENT)) for _ in range(7)]
    await reader.begun.wait()
    asked[5].cancel()
    reader.let.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in outcomes].count(sqlite3.OperationalError) == 6
    assert reader.reads == 1


async def test_nobody_looks_for_those_who_have_gone(db: sqlite3.Connection) -> None:
    reader = Reader(db)
    looking = Lookups(reader.read)
    first = asyncio.create_task(looking.find(ABSENT))
    await reader.begun.wait()
    gone = asyncio.create_task(looking.find(ABSENT))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    reader.let.set()
    assert await first is None
    assert reader.reads == 1


async def test_what_fails_fails_for_all_and_the_next_is_read(db: sqlite3.Connection) -> None:
    reader = Reader(db)
    looking = Lookups(reader.read)
    reader.let.set()
    db.execute("ALTER TABLE devices RENAME TO away")
    outcomes = await asyncio.gather(looking.find(ABSENT), looking.find(ABSENT),
                                    return_exceptions=True)  # fmt: skip
    assert [type(one) for one in outcomes] == [sqlite3.OperationalError] * 2
    db.execute("ALTER TABLE away RENAME TO devices")
    assert await looking.find(DeviceId((1).to_bytes(16, "big"))) is not None
