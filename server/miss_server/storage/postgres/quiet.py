"""The quiet part's way to PostgreSQL: functions over SQLAlchemy's connection, a transaction each."""

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.pool import (
    COMMAND_SECONDS,
    CONNECT_SECONDS,
    Greet,
    Options,
    Session,
    UnsafeServer,
    check_session,
    session_settings,
)
from miss_server.storage.postgres.trouble import crossed, describe, not_durable

T = TypeVar("T")

SIZE = 3
"""Connections: what is not a message is rare, or short."""
TRIES = 5
"""Of a transaction that another one crossed."""


class Quiet:
    """An engine of its own, bounded like the pool of the hot path."""

    def __init__(self, options: Options, greet: Greet | None = None, *, keeps: bool = True) -> None:
        """`keeps`: connections are kept open between uses, up to `SIZE`."""
        self._options = options
        self._recognise = greet
        bounds: dict[str, Any] = {"poolclass": NullPool}
        if keeps:
            bounds = {"pool_size": SIZE, "max_overflow": 0, "pool_timeout": CONNECT_SECONDS}
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            hide_parameters=True,  # errors are logged, and values are what must not be
            **bounds,
        )

    async def _connect(self) -> Session:
        connection: Session = await asyncpg.connect(
            self._options.dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings=session_settings(self._options.application),
        )
        try:
            await check_session(connection, unsafe_fsync=self._options.unsafe_fsync)
            if self._recognise is not None:
                await self._recognise(connection)
        except UnsafeServer as error:
            connection.terminate()
            raise NotDurable(str(error)) from error
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, again if another one crossed it. What it raises undoes it.

        Raises:
            NotDurable: the outcome is unknown; the same call may be repeated.
        """
        for _ in range(TRIES):
            try:
                with not_durable(but=crossed):
                    async with self.engine.begin() as connection:
                        return await connection.run_sync(work)
            except Exception as error:
                if not crossed(error):
                    raise
                last = describe(error)
        raise NotDurable(last)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads; each of its statements sees what is committed by then.

        Raises:
            NotDurable: PostgreSQL cannot be asked; the same call may be repeated.
        """
        with not_durable():
            async with self.engine.connect() as connection:
                return await connection.run_sync(work)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()
