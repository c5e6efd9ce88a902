"""The database's own small values: its secret, its epoch, how far it was witnessed."""

from sqlalchemy import Connection, bindparam, select

from miss_server.storage.schema import settings
from miss_server.storage.sql.dialects import Upsert

_VALUE = select(settings.c.value).where(settings.c.name == bindparam("name_"))
_PUT = Upsert(
    settings,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["name"], set_={"value": insert.excluded.value}
    ),
)


def get(connection: Connection, name: str) -> bytes | None:
    """A value, None if there is none."""
    value: bytes | None = connection.execute(_VALUE, {"name_": name}).scalar_one_or_none()
    return value


def put(connection: Connection, name: str, value: bytes) -> None:
    """Write a value, whether or not there is one."""
    _PUT.run(connection, name=name, value=value)


def secret(connection: Connection) -> bytes:
    """The database's own secret: under it stand hashes of codes, epochs and witnesses."""
    value = get(connection, "pepper")
    assert value is not None  # noqa: S101  # made with the database
    return value
