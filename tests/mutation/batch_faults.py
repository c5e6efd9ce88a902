"""Named faults of batches: what they lock, look at, tell and count, as those of `node_faults`."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from miss_protocol.ids import DeviceId
from miss_server.doorbell.postgres import PostgresLine
from miss_server.storage.jobs import Job
from miss_server.storage.postgres import batch, lives
from miss_server.storage.postgres.batch import Batch
from miss_server.storage.postgres.pool import Connection
from miss_server.storage.postgres.writer import Writer
from miss_server.storage.settlement.sends import Sends
from tests.mutation.node_faults import NodeFault
from tests.server.storage import (
    test_batch_locks,
    test_lives,
    test_postgres_nodes,
    test_postgres_trouble,
)
from tests.support.devices import DOMAIN


class _Early:
    """A connection whose look at accounts was had before its locks."""

    def __init__(self, db: Any, seen: list[Any]) -> None:
        self._db = db
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def fetch(self, statement: str, *values: Any) -> Any:
        looks = (batch._READ_ACCOUNTS, batch._ACCOUNTS_AND_RELATIONS)
        if statement not in (batch._DELETE_AND_READ, batch._AND_RELATIONS, *looks):
            return await self._db.fetch(statement, *values)
        given = list(values)
        place = 0 if statement in looks else 4
        accounts, given[place] = given[place], []
        rows = await self._db.fetch(statement, *given)
        return rows + [row for row in self._seen if row[4] in accounts]


def checks_in_the_snapshot_of_the_locks(stack: ExitStack) -> None:
    """What sends are checked against is read as it was when the locks were asked for."""
    real = Batch.run

    async def run(self: Batch) -> None:
        rows = await self._db.fetch("SELECT address FROM accounts")
        addresses = [row["address"] for row in rows]
        seen = await self._db.fetch(batch._DELETE_AND_READ, [], [], [], [], addresses)
        self._db = _Early(self._db, seen)  # type: ignore[assignment]
        await real(self)

    stack.enter_context(patch.object(Batch, "run", run))


def _without(stack: ExitStack, statement: str, part: str, other: str = "") -> None:
    text: str = getattr(batch, statement)
    assert part in text, f"{statement} is another now"
    stack.enter_context(patch.object(batch, statement, text.replace(part, other)))


def accounts_not_locked(stack: ExitStack) -> None:
    """Devices of an account may come and go while a send to it is under way."""
    _without(stack, "_LOCK", " FOR SHARE")


def accounts_locked_in_another_order(stack: ExitStack) -> None:
    """One node begins at one end, the others at the other."""
    _without(stack, "_LOCK", " ORDER BY address", " ORDER BY address DESC")


def devices_locked_in_another_order(stack: ExitStack) -> None:
    """As before, for devices."""
    _without(stack, "_LOCK", " ORDER BY id", " ORDER BY id DESC")


def mailboxes_locked_in_another_order(stack: ExitStack) -> None:
    """As before, for mailboxes."""
    _without(stack, "_LOCK", " ORDER BY device", " ORDER BY device DESC")


def positions_without_the_lock(stack: ExitStack) -> None:
    """The next position is read, and nobody is kept from reading the same."""
    _without(stack, "_LOCK", " ORDER BY device FOR NO KEY UPDATE", " ORDER BY device")


def generations_of_this_node_only(stack: ExitStack) -> None:
    """A session that began elsewhere does not end the ones that are open here."""
    real = Sends.claim

    def claim(self: Sends, senders: Any) -> None:
        of = {submission.device: submission.generation for submission, _ in self._batch}
        real(
            self,
            [
                (id_, account, sn, of[DeviceId(id_)] or generation, revoked)
                for id_, account, sn, generation, revoked in senders
                if DeviceId(id_) in of
            ],
        )

    stack.enter_context(patch.object(Sends, "claim", claim))


def repeats_elsewhere_are_new(stack: ExitStack) -> None:
    """Only the node that took a send knows that it was sent."""
    real = Batch._lock

    async def lock(self: Batch) -> None:
        await real(self)
        for submission, _ in self._sends._batch:
            device, sn = self._devices[submission.device], submission.send.sn
            await self._db.execute(
                "DELETE FROM sends WHERE device = $1 AND sn = $2", submission.device, sn
            )
            device.sn = min(device.sn, sn - 1)

    stack.enter_context(patch.object(Batch, "_lock", lock))


def notify_inside_the_commit(stack: ExitStack) -> None:
    """The batch itself tells the other nodes."""
    real = Batch._write

    async def write(self: Batch) -> None:
        await real(self)
        channel = PostgresLine("", DOMAIN)._channel
        await self._db.execute("SELECT pg_notify($1, $2)", channel, "ring")

    stack.enter_context(patch.object(Batch, "_write", write))


def lost_answers_called_done(stack: ExitStack) -> None:
    """A batch whose outcome nobody knows is answered as if it were durable."""
    real = Writer._answer

    def answer(jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.error is not None:
                job.error = None
        real(jobs)

    stack.enter_context(patch.object(Writer, "_answer", staticmethod(answer)))


def rung_before_the_commit(stack: ExitStack) -> None:
    """Who asked for it, and the other nodes, are told of a send that PostgreSQL is yet to commit."""
    run, commit, end = Batch.run, Writer._commit, Writer._end
    told: ContextVar[Batch] = ContextVar("told")
    handed_in: ContextVar[Sequence[Job]] = ContextVar("handed_in")

    async def committing(self: Writer, jobs: Sequence[Job], also: frozenset[bytes]) -> None:
        handed_in.set(jobs)
        await commit(self, jobs, also)

    async def decided(self: Batch) -> None:
        await run(self)
        told.set(self)

    async def early(self: Writer, db: Connection) -> None:
        batch_ = told.get()
        for (submission, _), settled in zip(batch_._sends._batch, batch_.settled, strict=True):
            [job] = [job for job in handed_in.get() if job.work is submission]
            job.future.set_result(settled)
        await asyncio.sleep(0)
        await end(self, db)

    stack.enter_context(patch.object(Batch, "run", decided))
    stack.enter_context(patch.object(Writer, "_commit", committing))
    stack.enter_context(patch.object(Writer, "_end", early))


def batches_not_counted(stack: ExitStack) -> None:
    """The node does not remember which of its batches were committed."""
    stack.enter_context(patch.object(lives.Life, "committed", lambda *_: None))


_LOCKS = test_batch_locks
_NOBODY_AFTER = _LOCKS.test_who_waits_for_a_row_holds_none_that_comes_after_it
_TOO_SOON = "LockNotAvailable"

ALL = (
    NodeFault(
        checks_in_the_snapshot_of_the_locks,
        _LOCKS.test_a_send_that_waited_for_a_revocation_sees_it,
        "it went to a device that was revoked",
    ),
    NodeFault(
        accounts_not_locked,
        _LOCKS.test_a_device_that_is_added_waits_for_the_sends_under_way,
        "it did not wait",
    ),
    *(
        NodeFault(put_in, _NOBODY_AFTER, _TOO_SOON, {"table": table})
        for put_in, table in (
            (accounts_locked_in_another_order, "accounts"),
            (devices_locked_in_another_order, "devices"),
            (mailboxes_locked_in_another_order, "mailboxes"),
        )
    ),
    NodeFault(
        positions_without_the_lock,
        _LOCKS.test_two_nodes_give_one_mailbox_one_position_after_the_other,
        "UniqueViolation",
    ),
    NodeFault(
        generations_of_this_node_only,
        test_postgres_nodes.test_of_two_nodes_that_begin_a_session_of_one_device_one_has_it,
        "AssertionError",
    ),
    NodeFault(
        repeats_elsewhere_are_new,
        _LOCKS.test_a_repeat_on_another_node_is_the_same_message,
        "AssertionError",
    ),
    NodeFault(notify_inside_the_commit, _LOCKS.test_a_batch_itself_rings_nobody, "assert not [("),
    NodeFault(
        lost_answers_called_done,
        test_postgres_trouble.test_a_commit_whose_answer_was_lost_is_made_once,
        "DID NOT RAISE",
    ),
    NodeFault(
        rung_before_the_commit,
        _LOCKS.test_nobody_is_told_of_what_is_not_yet_committed,
        "told before it was stored",
    ),
    NodeFault(
        batches_not_counted,
        test_lives.test_a_copy_that_lacks_only_messages_is_noticed_on_the_next_connection,
        "DID NOT RAISE",
    ),
)
"""Each with its killer and words of what that says."""
