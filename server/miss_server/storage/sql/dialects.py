"""What the engines say differently, for statements that are built once."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

POSTGRES = "postgresql"


class Upsert:
    """An INSERT that gives way to rows that are there, in the words of each engine."""

    def __init__(self, table: Table, give_way: Callable[[Any], Any]) -> None:
        self._statements = {
            "sqlite": give_way(sqlite.insert(table)),
            POSTGRES: give_way(postgresql.insert(table)),
        }

    def run(self, connection: Connection, **values: Any) -> bool:
        """Insert one row; tells whether a row was written."""
        statement = self._statements[connection.dialect.name]
        return connection.execute(statement, values).rowcount == 1


def is_postgres(connection: Connection) -> bool:
    """Whether other writers may be at work at the same moment."""
    return connection.dialect.name == POSTGRES
