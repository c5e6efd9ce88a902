"""Which node has the live session of a device: it alone lets that device's rows run out (rule C5).

Only that node knows what it wrote to the session. A row here is made by the statement that begins the
session and goes with the one that ends it; one that was left behind by a node that died counts for as
long as that node was heard of lately (`lives`), and is replaced at the device's next login.

The table is PostgreSQL's alone, like those of the directory's words: a file has one server. A node of a
version that does not know it leaves its sessions out, and they are as unprotected as they were.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert

_metadata = MetaData()
_sessions = Table(
    "live_sessions",
    _metadata,
    Column("device", LargeBinary(16), primary_key=True),
    Column("node", String, nullable=False),
)
_AT = select(_sessions.c.device).where(
    _sessions.c.device.in_(bindparam("devices", expanding=True)),
    _sessions.c.node.in_(bindparam("nodes", expanding=True)),
)
_NOTE = insert(_sessions)
_NOTE = _NOTE.on_conflict_do_update(index_elements=["device"], set_={"node": _NOTE.excluded.node})

BEGUN = (
    "INSERT INTO live_sessions (device, node) SELECT id, {node} FROM unnest({devices}::bytea[]) AS w(id)"
    " ON CONFLICT (device) DO UPDATE SET node = excluded.node"
)
ENDED = "DELETE FROM live_sessions WHERE device = ANY({devices}::bytea[]) AND node = {node}"
"""For the statements of a batch, which holds the rows of these devices locked."""


def create(connection: Connection) -> None:
    """Make the table, if it is not there."""
    _metadata.create_all(connection)


def note(connection: Connection, device: bytes, node: str) -> None:
    """A session of this device has begun at this node; its row is locked."""
    connection.execute(_NOTE, {"device": device, "node": node})


def elsewhere(
    connection: Connection, devices: Iterable[bytes], nodes: Collection[str]
) -> frozenset[bytes]:
    """Which of these devices have their session at one of these nodes."""
    asked = list(devices)
    if not asked or not nodes:
        return frozenset()
    found = connection.execute(_AT, {"devices": asked, "nodes": list(nodes)})
    return frozenset(found.scalars())
