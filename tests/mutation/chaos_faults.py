"""Named faults that only a service in trouble shows: each names the fault of `tests.chaos` that finds it.

The nodes of that play put it in by its name (`tests.mutation.broken`); the product knows nothing of it.
"""

from contextlib import ExitStack, suppress
from unittest.mock import patch

import asyncpg

from miss_server.relay.sweep import Sweep
from miss_server.storage.postgres.pool import Connection
from miss_server.storage.postgres.writer import Writer
from tests.mutation.played import PlayedFault


def nobody_looks_for_what_no_ring_told(stack: ExitStack) -> None:
    """The sweep finds nothing."""

    async def look(self: Sweep) -> None:
        return

    stack.enter_context(patch.object(Sweep, "look", look))


def commits_without_an_answer_called_done(stack: ExitStack) -> None:
    """What PostgreSQL was asked to commit when it ended is taken for stored."""
    real = Writer._end

    async def end(self: Writer, db: Connection) -> None:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await real(self, db)

    stack.enter_context(patch.object(Writer, "_end", end))


TROUBLED = (PlayedFault(nobody_looks_for_what_no_ring_told, "all rings dropped", "not found"),)
"""Each with its killer in `tests.chaos.catalogue.FAULTS`, and words of what that says."""

TROUBLED_ROOT = (
    # What a node called committed is missing behind its next connection, and it notices that itself.
    PlayedFault(
        commits_without_an_answer_called_done,
        "PostgreSQL's disk full, that of its log",
        "the server was taken for an older copy",
    ),
)
"""The same for `ROOT_FAULTS`."""


def put_in(name: str, stack: ExitStack) -> None:
    """Make the mistake of that name until the stack ends."""
    [fault] = [one for one in (*TROUBLED, *TROUBLED_ROOT) if one.name == name]
    fault.put_in(stack)
