"""The PostgreSQL side of a move out of a SQLite file (see `storage.copying`)."""

import asyncio
from pathlib import Path

from sqlalchemy import Connection

from miss_server.storage.audit import SERVER
from miss_server.storage.copying import Copied, Progress, begin, copy
from miss_server.storage.postgres import preparing
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.quiet import Quiet
from miss_server.storage.postgres.trouble import not_durable
from miss_server.storage.sqlite.moving import leaving


def move(
    source: Path,
    options: Options,
    *,
    shown: str,
    domain: str,
    now_ms: int,
    actor: str = SERVER,
    progress: Progress = lambda share: None,
) -> Copied:
    """Copy a file into an empty database; run again, it goes on. Hold the file's `ServeLock`.

    Args:
        shown: the target without its password, for the mark on the file.

    Raises:
        DatabaseError: the file cannot be moved, or not into this database; the text says why.
        NotDurable: PostgreSQL went away; run it again.
    """

    def through(target: Connection) -> Copied:
        with leaving(
            source,
            shown,
            domain=domain,
            now_ms=now_ms,
            begin=lambda file: begin(file, target),
        ) as file:
            return copy(file, target, now_ms=now_ms, actor=actor, progress=progress)

    async def run() -> Copied:
        await preparing.schema_of(options)  # says in one line why it cannot be reached
        quiet = Quiet(options)
        try:
            with not_durable():
                async with quiet.engine.connect() as connection:
                    return await connection.run_sync(through)
        finally:
            await quiet.close()

    return asyncio.run(run())
