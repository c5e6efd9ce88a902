"""Accounts and full mailboxes in a cluster's template, a million in seconds: PostgreSQL makes the rows.

They are there to be in the way and never log in: keys, hashes and digests are made up, numbers and
sizes of rows are those of real ones.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, DropIndex

from miss_protocol import frames as f
from miss_server.storage.schema import metadata
from miss_server.storage.states import RecipientState, encode_states
from tests.bench.machine import now_ms
from tests.bench.population import Peer
from tests.bench.postgres import Cluster
from tests.bench.script import WRAP_BYTES
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.server import DOMAIN

_ACCOUNTS = (
    "WITH made AS (SELECT substr(md5('account' || n), 1, 26) || '@' || $4 AS address,"
    " decode(md5('device' || n), 'hex') AS device, sha256(int8send(n)) AS hash"
    " FROM generate_series($1::bigint, $2::bigint) AS n),"
    " accounts_ AS (INSERT INTO accounts (address, name, genesis, roster_version, created_ms)"
    " SELECT address, 'Bench', hash, 1, $3 FROM made),"
    " devices_ AS (INSERT INTO devices (id, account, signing_key, created_ms, seen_ms, epoch)"
    " SELECT device, address, hash, $3, $3, (SELECT value FROM settings WHERE name = 'epoch')"
    " FROM made)"
    " INSERT INTO mailboxes (device, digest, acked_digest) SELECT device, hash, hash FROM made"
)
_ENVELOPES = (
    "INSERT INTO envelopes (device, position, row_hash, digest, sender_account, sender_device,"
    " message, body, wrap, kind, urgency, at_ms, expires_ms)"
    " SELECT d.id, n, sha256(d.id || int8send(n)), sha256(int8send(n) || d.id), $3, $4,"
    " decode(md5(d.id || int8send(n)), 'hex'), $5, $6, 'message', 'normal', $7, $8"
    # Position after position, not one mailbox after the other: rows of one lie apart, as in life.
    " FROM generate_series(1::bigint, $2::bigint) AS n, unnest($1::bytea[]) AS d(id)"
)
_SENDS = (
    "INSERT INTO sends (device, sn, message, fingerprint, reply, states, kind, open)"
    " SELECT $3, (n - 1) * cardinality($1::bytea[]) + d.place,"
    " decode(md5(d.id || int8send(n)), 'hex'), sha256(d.id || int8send(n)), $4, d.states,"
    " 'message', 1 FROM generate_series(1::bigint, $2::bigint) AS n,"
    " unnest($1::bytea[], $5::bytea[]) WITH ORDINALITY AS d(id, states, place)"
)
_MAILBOXES = (
    "UPDATE mailboxes SET head = $2::bigint, waiting = $2::bigint, bytes = $3, digest = sha256('full')"
    " WHERE device = ANY($1::bytea[])"
)


async def add_accounts(cluster: Cluster, first: int, last: int) -> None:
    """Add accounts with a device each, numbered as told."""
    connection = await cluster.process.connect(cluster.template)
    try:
        await connection.execute(_ACCOUNTS, first, last, now_ms(), DOMAIN)
    finally:
        await connection.close()
    await cluster.tidy()


async def fill(cluster: Cluster, sender: Peer, recipients: Sequence[Peer], each: int) -> None:
    """Put `each` messages into every recipient's mailbox, which must be empty; `sender` must not log
    in later."""
    body, wrap, at = opaque_body(), opaque_wrap(WRAP_BYTES), now_ms()
    boxes = [one.device for one in recipients]
    reply = msgspec.msgpack.encode(f.Sent(each, bytes(16), at))
    states = [encode_states([RecipientState(box, False, "waiting", at)]) for box in boxes]
    indexes = [index for name in ("envelopes", "sends") for index in metadata.tables[name].indexes]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    connection = await cluster.process.connect(cluster.template)
    try:
        for index in indexes:
            await connection.execute(str(DropIndex(index).compile(dialect=dialect)))
        await connection.execute(
            *(_ENVELOPES, boxes, each, sender.account, sender.device, body, wrap, at),
            at + 30 * 24 * 3_600_000,
        )
        await connection.execute(_SENDS, boxes, each, sender.device, reply, states)
        await connection.execute(_MAILBOXES, boxes, each, each * (len(body) + len(wrap)))
        for index in indexes:
            await connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
    finally:
        await connection.close()
    await cluster.tidy()
