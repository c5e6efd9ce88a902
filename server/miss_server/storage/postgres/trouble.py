"""What a failure of PostgreSQL means: try again at once, later, or never.

PostgreSQL names failures by five letters, of which the first two are the class:
https://www.postgresql.org/docs/15/errcodes-appendix.html
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from asyncpg.exceptions import DataError, InternalClientError
from asyncpg.exceptions import InterfaceError as DriverError
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from miss_server.storage.messages import NotDurable

_CROSSED = ("40001", "40P01", "0A000", "26000")
"""Serialisation, deadlock; a plan or a prepared statement from before a
change of the schema. The transaction is undone, and the same one may go through now."""
_OUTAGES = ("08", "25", "28", "3D", "53", "54", "55", "57", "58", "F0", "XX")
"""Connections, read-only and dead transactions, a user or a database that is gone, disk, memory and
connections that are short, shutdown and cancelled statements, the system, damage."""

log = structlog.get_logger()


class Crossed(Exception):
    """Somebody else came between and nothing was done: the whole transaction wants to be repeated."""


def crossed(error: BaseException) -> bool:
    """Whether the transaction is surely undone and may go through if it is repeated at once."""
    return isinstance(error, Crossed) or _state_of(error) in _CROSSED


def outage(error: BaseException) -> bool:
    """Whether PostgreSQL, its machine or the way to it is in trouble: nobody's fault, and whether
    a commit under way went through is not known."""
    if isinstance(error, OSError | asyncio.TimeoutError | PoolTimeout | InternalClientError):
        return True
    state = _state_of(error)
    if state:
        return state.startswith(_OUTAGES) or state in _CROSSED
    # The drivers' own words for a connection that is closed or closing.
    driver = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(driver, DataError):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(driver, DriverError) or isinstance(error, InterfaceError)


def locked(error: BaseException) -> bool:
    """Whether somebody else held what was wanted for longer than `lock_timeout`."""
    return _state_of(error) == "55P03"


def forbidden(error: BaseException) -> bool:
    """Whether the role may not do this."""
    return _state_of(error) == "42501"


def cause(error: BaseException) -> str:
    """What `StorageTally.failures` calls it."""
    inner = error.__cause__ if isinstance(error, NotDurable) else error
    state = _state_of(inner)
    if inner is None or crossed(inner):
        return "locked"
    if state.startswith("53100"):
        return "full"
    if state.startswith(("58", "XX")):
        return "disk"
    if state == "53300":
        return "crowded"
    return "connection" if outage(inner) else "other"


@contextmanager
def not_durable(but: Callable[[BaseException], bool] = lambda _: False) -> Iterator[None]:
    """Tell the caller of an outage what it means for what it asked.

    Args:
        but: which failures the caller sees to itself.

    Raises:
        NotDurable: the outcome is unknown; the same call may be repeated.
    """
    try:
        yield
    except NotDurable:
        raise
    except Exception as error:
        if not outage(error) or but(error):
            raise
        log.error("database trouble", error=describe(error))
        raise NotDurable(describe(error), cause(error)) from error


def describe(error: BaseException) -> str:
    """The failure in one line, without any value of a statement."""
    driver = error.orig if isinstance(error, DBAPIError) else error
    state = _state_of(error)
    # PostgreSQL's `detail` may hold values of rows; its first line does not.
    first = (str(driver).splitlines() or [""])[0]
    return f"{type(driver).__name__}{f' {state}' if state else ''}: {first}".rstrip(": ")


def _state_of(error: BaseException | None) -> str:
    driver = error.orig if isinstance(error, DBAPIError) else error
    return getattr(driver, "sqlstate", None) or ""
