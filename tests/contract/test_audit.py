"""The contract of the audit log: it is only added to, and what was written can be followed."""

import asyncio
import sqlite3
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, text, update
from sqlalchemy.exc import DBAPIError

from miss_protocol.audit import Chain, Head
from miss_protocol.errors import Code, Refused
from miss_server.storage.audit import SERVER, Action, Deed, account, operator
from miss_server.storage.audit_tables import audit
from miss_server.storage.sql import accounts
from tests.support.devices import NOW, address
from tests.support.mailing import Store

CLAIRE = operator("claire")


async def in_transaction(store: Store, work: Callable[[Connection], None]) -> None:
    """Run `work` as a call of the store's own is run."""
    await store._write(work)  # type: ignore[attr-defined]  # every engine's store has it


async def verified(store: Store) -> Head:
    """The head of the log, which holds."""
    chain = Chain()
    for entry in await store.audit_entries():
        assert chain.follow(entry) is None
    assert await store.audit_head() == chain.head
    return chain.head


async def test_an_empty_log_holds(store: Store) -> None:
    assert await verified(store) == Head()


async def test_deeds_are_written_in_order_with_everything_said(store: Store) -> None:
    first = Deed(CLAIRE, Action.DIRECTORY_IMPORTED, detail={"sources": ["Annuaire d'été"], "n": 2})
    assert (await store.record(first, now_ms=NOW)).seq == 1
    about = address()
    for actor in (account(address()), account(about), SERVER):
        await store.record(Deed(actor, Action.CODE_MADE, about), now_ms=NOW + 5)
    assert (await verified(store)).seq == 4
    [one, *others] = await store.audit_entries()
    assert (one.actor, one.action, one.subject) == ("operator:claire", "directory_imported", "")
    assert (one.at_ms, one.detail) == (NOW, '{"n":2,"sources":["Annuaire d\'été"]}')
    assert [entry.detail for entry in others] == ["{}"] * 3
    assert await store.audit_entries(subject=about) == others
    assert await store.audit_entries(subject=about, after=2, limit=1) == [others[1]]
    assert await store.audit_entries(since_ms=NOW + 1) == others


async def test_deeds_at_the_same_moment_make_one_chain(store: Store) -> None:
    deed = Deed(CLAIRE, Action.CODE_MADE)
    await asyncio.gather(*(store.record(deed, now_ms=NOW) for _ in range(30)))
    assert (await verified(store)).seq == 30


async def test_a_code_and_its_entry_come_together_or_not_at_all(store: Store) -> None:
    about = await store.create(None, "Dr Fictif", address(), now_ms=NOW)
    await store.add_code(about, "CODE", expires_ms=NOW + 9, now_ms=NOW, actor=CLAIRE)
    [entry] = await store.audit_entries()
    assert (entry.action, entry.subject) == ("code_made", about)
    assert entry.detail == f'{{"expires_ms":{NOW + 9}}}'

    def broken(connection: Connection) -> None:
        accounts.add_code(connection, about, "SECOND", NOW + 9, NOW, CLAIRE)
        raise Refused(Code.BUSY)

    with pytest.raises(Refused):
        await in_transaction(store, broken)
    assert await store.audit_entries() == [entry]
    with pytest.raises(Refused):
        await store.account_of_code("SECOND", now_ms=NOW)


@pytest.mark.parametrize("what", ["update", "delete", "truncate", "replace"])
async def test_the_database_refuses_every_change(store: Store, what: str) -> None:
    await store.record(Deed(CLAIRE, Action.CODE_MADE), now_ms=NOW)

    def change(connection: Connection) -> None:
        if what == "truncate" and connection.dialect.name == "postgresql":
            connection.execute(text("TRUNCATE audit"))
        elif what == "replace" and connection.dialect.name == "sqlite":
            connection.execute(text("INSERT OR REPLACE INTO audit SELECT * FROM audit"))
        elif what == "replace":
            same = (
                "INSERT INTO audit SELECT * FROM audit ON CONFLICT (seq) DO UPDATE SET actor = 'x'"
            )
            connection.execute(text(same))
        elif what == "update":
            connection.execute(update(audit).values(actor="somebody else"))
        else:
            connection.execute(delete(audit))

    with pytest.raises((DBAPIError, sqlite3.Error), match="only added to"):
        await in_transaction(store, change)
    assert (await verified(store)).seq == 1
