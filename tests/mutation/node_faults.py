"""Named faults of what PostgreSQL and several nodes bring, each with the test that must fail by it.

Each wraps real functions or statements for the length of a `with` block, as those of `faults` do.
`test_node_gate` runs the tests.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import asyncpg
from sqlalchemy import select

from miss_protocol.errors import CloseCode
from miss_protocol.ids import DeviceId
from miss_server.doorbell.interface import News
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.doorbell.postgres import PostgresLine
from miss_server.doorbell.redis import RedisLine
from miss_server.http import shared_counting
from miss_server.http.shared_counting import SharedCounts
from miss_server.relay import sweep
from miss_server.storage import copying
from miss_server.storage.postgres import batch, lives, pool, preparing, quiet
from miss_server.storage.postgres.batch import Batch
from miss_server.storage.postgres.seat import Seat
from miss_server.storage.postgres.writer import Job, Writer
from miss_server.storage.schema import prekeys as prekeys_table
from miss_server.storage.settlement.sends import Sends
from miss_server.storage.sql import endings, epochs, locks, prekeys, settings
from miss_server.storage.witness import Testimony
from tests.contract import test_doorbell
from tests.server.doorbell import test_redis
from tests.server.http import test_counting
from tests.server.relay import test_sweep
from tests.server.storage import (
    test_batch_locks,
    test_copying,
    test_lives,
    test_postgres_nodes,
    test_postgres_trouble,
    test_preparing,
    test_races,
    test_seat,
)
from tests.support import doorbells
from tests.support.devices import DOMAIN


@dataclasses.dataclass(frozen=True)
class NodeFault:
    """A mistake, the test that must fail by it, and a part of what that says."""

    put_in: Callable[[ExitStack], None]
    killed_by: Callable[..., Awaitable[None]]
    saying: str
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Parameters of the test."""
    within: float = 60.0
    """Seconds for the test: less where the mistake is that something waits for ever."""

    @property
    def name(self) -> str:
        """The mistake's name."""
        return self.put_in.__name__.replace("_", " ")


# --- the batch ------------------------------------------------------------------------------------


class _Early:
    """A connection whose look at accounts was had before its locks."""

    def __init__(self, db: Any, seen: list[Any]) -> None:
        self._db = db
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def fetch(self, statement: str, *values: Any) -> Any:
        if statement not in (batch._DELETE_AND_READ, batch._AND_RELATIONS):
            return await self._db.fetch(statement, *values)
        given = list(values)
        accounts, given[4] = given[4], []
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

    def answer(jobs: list[Job]) -> None:
        for job in jobs:
            if job.error is not None:
                job.error = None
        real(jobs)

    stack.enter_context(patch.object(Writer, "_answer", staticmethod(answer)))


# --- quiet transactions ---------------------------------------------------------------------------


def rosters_change_under_sends(stack: ExitStack) -> None:
    """A change of a roster waits for no send that is under way."""
    stack.enter_context(patch.object(locks, "account", lambda *_: None))


def prekeys_looked_at_and_not_taken(stack: ExitStack) -> None:
    """The next prekey is read; that it is gone, the others see later."""
    other = prekeys_table.alias()
    look = (
        select(other.c.prekey)
        .where(other.c.device == prekeys._OF_DEVICE.right, ~other.c.last_resort)
        .order_by(other.c.id)
        .limit(1)
    )
    stack.enter_context(patch.object(prekeys, "_TAKE", look))


def epoch_not_held(stack: ExitStack) -> None:
    """Prekeys may be on their way while a new epoch voids all."""
    stack.enter_context(patch.object(epochs, "hold", lambda *_: None))


def two_nodes_clean_at_once(stack: ExitStack) -> None:
    """Expiry and cleaning of two nodes meet in the same rows."""
    stack.enter_context(patch.object(endings, "_is_alone", lambda *_: True))


# --- which database, which node -------------------------------------------------------------------


def identity_not_compared(stack: ExitStack) -> None:
    """A promoted standby, or a dump loaded anew, is taken for the same database."""
    real = settings.get
    stack.enter_context(
        patch.object(
            settings, "get", lambda c, name: None if name == lives._IDENTITY else real(c, name)
        )
    )


def witness_of_the_node_not_written(stack: ExitStack) -> None:
    """What a restore must not undo is told although the node has not written it down."""

    async def remember(self: lives.Life, now: Testimony) -> None:
        self._stood = now

    stack.enter_context(patch.object(lives.Life, "remember", remember))


def connections_not_recognised(stack: ExitStack) -> None:
    """A node goes on with whatever database is behind the address."""

    async def recognise(*_: Any) -> None:
        return

    stack.enter_context(patch.object(lives.Life, "recognise", recognise))


def seat_not_held(stack: ExitStack) -> None:
    """Two nodes of one name run, and write over each other's witness."""

    async def take(self: Seat) -> None:
        self._connection = await asyncpg.connect(self._dsn)

    stack.enter_context(patch.object(Seat, "take", take))


def newer_schema_accepted(stack: ExitStack) -> None:
    """An old program works on tables that it does not know."""
    stack.enter_context(patch.object(preparing, "SCHEMA_VERSION", 1_000_000))


def answers_before_the_disk_accepted(stack: ExitStack) -> None:
    """`synchronous_commit = off` is the operator's business."""

    async def check(*_: Any, **__: Any) -> None:
        return

    for module in (pool, quiet):
        stack.enter_context(patch.object(module, "check_session", check))


def copy_not_compared(stack: ExitStack) -> None:
    """What was copied is taken for what there was."""
    stack.enter_context(patch.object(copying, "_digest", lambda *_: (0, 0)))


# --- between nodes --------------------------------------------------------------------------------


def rings_heard_at_home_only(stack: ExitStack) -> None:
    """Nothing is said to the other nodes."""
    real = NodeDoorbell._say

    async def say(self: NodeDoorbell, news: News) -> None:
        await real(self, News())

    stack.enter_context(patch.object(doorbells, "PATIENCE", 3.0))
    stack.enter_context(patch.object(NodeDoorbell, "_say", say))


def own_words_not_listened_for(stack: ExitStack) -> None:
    """An open socket is taken for a line that works."""
    stack.enter_context(patch.object(doorbells, "PATIENCE", 6.0))
    stack.enter_context(patch("miss_server.doorbell.nodes.SILENCE_MAX", 1e9))


def one_channel_for_all_services(stack: ExitStack) -> None:
    """Two services on one Redis hear each other."""
    real = RedisLine.__init__

    def line(self: RedisLine, url: str, domain: str) -> None:
        real(self, url, "any.example")

    stack.enter_context(patch.object(RedisLine, "__init__", line))


def rings_dropped_in_silence(stack: ExitStack) -> None:
    """When more waits to be said than can be, it is forgotten and nobody looks."""

    def drop(self: NodeDoorbell) -> None:
        self._lost(self._take())

    stack.enter_context(patch.object(doorbells, "PATIENCE", 3.0))
    stack.enter_context(patch.object(NodeDoorbell, "_drop", drop))


def hints_believed(stack: ExitStack) -> None:
    """What another node says ends a session, whatever the store knows."""
    real = sweep._why_not

    def why_not(one: Any, head: Any, epoch: bytes, hint: int | None) -> Any:
        return CloseCode.REPLACED if hint is not None else real(one, head, epoch, hint)

    stack.enter_context(patch.object(sweep, "_why_not", why_not))


def sweep_sees_no_sessions(stack: ExitStack) -> None:
    """A session that began elsewhere is known by its ring alone."""
    real = sweep._why_not

    def why_not(one: Any, head: Any, epoch: bytes, hint: int | None) -> Any:
        return None if hint is None else real(one, head, epoch, hint)

    stack.enter_context(patch.object(sweep, "_why_not", why_not))


def nothing_but_rings(stack: ExitStack) -> None:
    """Beside the doorbell nobody sweeps."""

    async def look(self: sweep.Sweep) -> None:
        return

    stack.enter_context(patch.object(sweep.Sweep, "look", look))


def requests_wait_for_redis(stack: ExitStack) -> None:
    """A rate limit is answered when Redis answers."""
    stack.enter_context(patch.object(shared_counting, "WAIT_MAX", 3600.0))


def nobody_served_without_redis(stack: ExitStack) -> None:
    """A limit that cannot be asked for is taken for reached."""
    real = SharedCounts._ask

    async def ask(self: SharedCounts, question: Any) -> bool:
        return bool(await real(self, question))

    stack.enter_context(patch.object(SharedCounts, "_ask", ask))


def each_node_counts_alone(stack: ExitStack) -> None:
    """Whoever is refused by one node goes to the next."""

    async def ask(self: SharedCounts, question: Any) -> bool:
        question.close()
        return True

    stack.enter_context(patch.object(SharedCounts, "_ask", ask))


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
        rosters_change_under_sends,
        test_races.test_a_send_under_way_holds_up_a_revocation_that_then_sees_it,
        "AssertionError",
    ),
    NodeFault(
        prekeys_looked_at_and_not_taken,
        test_races.test_many_claims_at_once_have_a_prekey_each,
        "AssertionError",
    ),
    NodeFault(
        epoch_not_held,
        test_races.test_prekeys_on_their_way_do_not_outlive_a_new_epoch,
        "it did not wait",
    ),
    NodeFault(
        two_nodes_clean_at_once,
        test_races.test_one_node_at_a_time_lets_messages_expire,
        "assert 1 == 0",
    ),
    NodeFault(
        identity_not_compared,
        test_lives.test_a_dump_loaded_anew_is_another_database,
        "AssertionError",
    ),
    NodeFault(
        witness_of_the_node_not_written,
        test_lives.test_what_cannot_be_witnessed_is_not_answered,
        "DID NOT RAISE",
    ),
    NodeFault(
        connections_not_recognised,
        test_lives.test_an_emptied_or_exchanged_database_is_not_recognised,
        "DID NOT RAISE",
    ),
    NodeFault(
        seat_not_held,
        test_seat.test_a_second_node_of_a_name_is_refused_until_the_first_is_gone,
        "DID NOT RAISE",
    ),
    NodeFault(
        newer_schema_accepted,
        test_preparing.test_another_domain_another_program_and_another_version,
        "newer version",
    ),
    NodeFault(
        answers_before_the_disk_accepted,
        test_postgres_trouble.test_a_server_that_answers_before_the_disk_is_refused,
        "DID NOT RAISE",
        {"level": "off"},
    ),
    NodeFault(copy_not_compared, test_copying.test_a_copy_that_differs_does_not_serve, "DID NOT"),
    NodeFault(
        rings_heard_at_home_only, test_doorbell.test_every_node_hears_what_one_announces, "Timeout"
    ),
    NodeFault(
        own_words_not_listened_for,
        test_redis.test_a_line_on_which_nothing_comes_is_found_by_the_silence,
        "Timeout",
    ),
    NodeFault(
        one_channel_for_all_services,
        test_doorbell.test_another_service_on_the_same_far_end_is_not_heard,
        "theirs not in",
    ),
    NodeFault(
        rings_dropped_in_silence,
        test_doorbell.test_more_than_can_wait_becomes_a_look_at_everything,
        "Timeout",
    ),
    NodeFault(
        hints_believed,
        test_sweep.test_a_hint_that_the_store_does_not_confirm_ends_nothing,
        "line.ping()",
    ),
    NodeFault(
        sweep_sees_no_sessions,
        test_sweep.test_a_session_that_began_elsewhere_ends_this_one,
        "Timeout",
        within=6.0,
    ),
    NodeFault(
        nothing_but_rings,
        test_sweep.test_what_nobody_rang_for_is_found_and_counted,
        "Timeout",
        within=6.0,
    ),
    NodeFault(
        requests_wait_for_redis,
        test_counting.test_frozen_it_holds_up_no_request,
        "Timeout",
        within=12.0,
    ),
    NodeFault(
        nobody_served_without_redis,
        test_counting.test_without_redis_each_node_counts_alone_and_then_together_again,
        "AssertionError",
    ),
    NodeFault(
        each_node_counts_alone,
        test_counting.test_what_one_node_counted_counts_on_the_other,
        "AssertionError",
    ),
)
"""Each with its killer and words of what that says."""
