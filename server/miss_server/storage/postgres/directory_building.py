"""Writes the words of a whole directory over a connection of its own, in a process beside the import.

Two transactions write two tables, so nothing of either is in force before both are committed: the import says
last that the slot is whole. One that dies between leaves a slot that the next one empties.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import asyncpg
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.bulk import Bulk, vector
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import describe, not_durable
from miss_server.storage.sql import epochs, vocabulary
from miss_server.working import Crew, Told, Worker

FILLING = {
    # No statement of it is short, and nobody waits for its locks: the slot is aside.
    "statement_timeout": "0",
    "lock_timeout": "10min",
    "idle_in_transaction_session_timeout": "10min",
    # What one sort or index takes at most; it is PostgreSQL's memory, on its machine.
    "maintenance_work_mem": "128MB",
    # What is written goes on to the disk as it comes. Else the system keeps it for half a minute, and a
    # node's commit that comes when it writes all of it waits behind hundreds of megabytes.
    "backend_flush_after": "1MB",
}
TWO_AT_ONCE = FILLING | {
    # Of two connections that each build an index: more at once would leave a server no core.
    "max_parallel_maintenance_workers": "0",
    # PostgreSQL sees that a process is gone also while it builds an index for it.
    "client_connection_check_interval": "1s",
}
BESIDE = epochs.LOCK + 3
"""The advisory lock of the process. It outlives an import that is killed, by as long as the index takes: whoever
comes meanwhile is told that an import is running."""

Row = tuple[int, str]
"""An entry's number and words."""
COLUMNS = ("id", "words")


class Plan(NamedTuple):
    """Where to connect, and the table of (id, words), which is empty."""

    options: Options
    table: str


class WordsNotWritten(Told):
    """PostgreSQL did not take them; the text says why, without names or addresses."""


def build(plan: Plan, batches: Iterator[list[Row]]) -> None:
    """Write all batches, numbers going up, each while the next one is made. All is committed then.

    Args:
        batches: the last one is empty; what is done behind it is done while the index is built.

    Raises:
        NotDurable: PostgreSQL did not take it; `ChildProcessError` if the process is gone.
    """
    try:
        with Crew(serve, 1, last=False) as crew:
            for _ in crew.mapped(iter([plan])):
                pass
            for _ in crew.mapped(batches):
                pass
    except WordsNotWritten as error:
        raise NotDurable(str(error)) from None


def serve(worker: Worker) -> None:
    """Write for one plan, which comes first, the batches behind it; an empty one is the last."""
    jobs = worker.received()
    plan: Plan = next(jobs)

    def run(connection: Connection) -> None:
        bulk = Bulk(connection)
        with connection.begin():
            bulk.begin()
            if not connection.execute(select(func.pg_try_advisory_lock(BESIDE))).scalar_one():
                raise WordsNotWritten("another import is still ending")
        worker.send(None)
        with connection.begin():
            set_for_transaction(connection, TWO_AT_ONCE)
            with bulk.unindexed([plan.table]):
                for batch in _until_empty(jobs):
                    bulk.put(plan.table, COLUMNS, as_columns(batch))
                    worker.send(None)
        worker.send(None)

    try:
        asyncio.run(_connected(plan.options, run))
    except NotDurable as error:
        raise WordsNotWritten(str(error)) from None
    except (DBAPIError, asyncpg.PostgresError) as error:
        raise WordsNotWritten(describe(error)) from None


async def _connected(options: Options, run: Callable[[Connection], None]) -> None:
    quiet = Quiet(options, keeps=False)
    try:
        with not_durable():
            async with quiet.engine.connect() as connection:
                await connection.run_sync(run)
    finally:
        await quiet.close()


def _until_empty(jobs: Iterator[list[Row]]) -> Iterator[list[Row]]:
    for batch in jobs:
        if not batch:
            return
        yield batch
    raise SystemExit  # the import has died: what is not committed is undone


def as_columns(rows: Iterable[Row]) -> Iterator[tuple[int, bytes]]:
    """Numbers and words as COPY takes them."""
    return ((number, vector(_lexemes(words))) for number, words in rows)


def lexemes(folded: str) -> str:
    """Words as the index takes them: none empty, none too long."""
    return " ".join(word[: vocabulary.WORD_MAX] for word in folded.split())


def _lexemes(folded: str) -> Iterable[bytes]:
    words = folded.encode().split()
    if max(map(len, words), default=0) > vocabulary.WORD_MAX:
        return {word.encode() for word in lexemes(folded).split()}
    return words


def set_for_transaction(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set these of the transaction that is open."""
    for name, value in settings.items():
        connection.execute(select(func.set_config(name, value, True)))
