"""The mailbox epoch in force (rule C6): kept as it is, changed, and who may say that it ended."""

from sqlalchemy import Connection, delete, func, select, update

from miss_server.storage import epoch_ids
from miss_server.storage.meeting_tables import relations
from miss_server.storage.schema import accounts, prekeys
from miss_server.storage.sql import settings, witnessed
from miss_server.storage.sql.dialects import is_postgres
from miss_server.storage.sql.meeting_words import meets

TELLS_AGAIN_MS = 24 * 3600 * 1000
"""One account's word alone begins a new epoch once in this time: a real second restore within it
is told by any other account, a liar disturbs everybody once a day and stands in the log."""

LOCK = 0x4D69_5353_0001
"""The advisory lock of the epoch: shared by whoever relies on it, alone for who changes it. A row
lock in its place would be written to the disk by every login."""

_TOLD = "epoch told by "

_HOLD = select(func.pg_advisory_xact_lock_shared(LOCK))
_TAKE = select(func.pg_advisory_xact_lock(LOCK))
_VOID = delete(prekeys).where(prekeys.c.last_resort.is_(False))
_UNCONFIRM = update(accounts).where(accounts.c.genesis.is_not(None)).values(confirmed=False)

# What was not delivered is sent again, and was counted before it was lost, or not.
_COUNT_ANEW = update(relations).where(relations.c.unanswered > 0).values(unanswered=0)


def hold(connection: Connection) -> None:
    """Keep the epoch as it is until the transaction ends. First of all its locks."""
    if is_postgres(connection):
        connection.execute(_HOLD)


def take(connection: Connection) -> None:
    """Wait until nobody relies on the epoch and nobody else changes it. First of all the locks of
    the transaction: one that holds it already would wait for another that does, for ever."""
    if is_postgres(connection):
        connection.execute(_TAKE)


def current(connection: Connection) -> tuple[bytes, int]:
    """The mailbox epoch and the time it began."""
    epoch, since = settings.get(connection, "epoch"), settings.get(connection, "epoch_ms")
    assert epoch is not None and since is not None  # noqa: S101, PT018  # made with the database
    return epoch, int.from_bytes(since, "big")


def change(
    connection: Connection, now_ms: int, *, after: int, witness: str = witnessed.ALONE
) -> bytes:
    """The database turned out to be older than what its devices saw: start a new epoch, of a
    number above `after`. `take` it first, and compare again.

    One-time prekeys are voided, because some of them may have been handed out in the lost time
    (invariant I11), and every account waits until one of its devices confirms its roster. Last
    resorts stay: they go to many anyhow, and without them a device that is away, a tablet in a
    drawer, would keep everybody without a session from writing to its account.
    """
    epoch = epoch_ids.make(settings.secret(connection), after + 1)
    settings.put(connection, "epoch", epoch)
    settings.put(connection, "epoch_ms", now_ms.to_bytes(8, "big"))
    connection.execute(_VOID)
    connection.execute(_UNCONFIRM)
    if meets(connection):
        connection.execute(_COUNT_ANEW)
    witnessed.count_up(connection, witness)
    return epoch


def may_tell(connection: Connection, account: str, now_ms: int) -> bool:
    """Whether an account's word alone may begin a new epoch now; if so, it is noted."""
    told = settings.get(connection, _TOLD + account)
    if told is not None and abs(now_ms - int.from_bytes(told, "big")) < TELLS_AGAIN_MS:
        return False
    settings.put(connection, _TOLD + account, now_ms.to_bytes(8, "big"))
    return True
