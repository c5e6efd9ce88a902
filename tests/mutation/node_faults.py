"""Named faults of a node on a shared PostgreSQL, each with the test that must fail by it: which database it
takes for its own, and what its transactions hold. Those of batches: `batch_faults`; of what nodes tell each
other: `doorbell_faults`.

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

from miss_server.storage import copying
from miss_server.storage.postgres import lives, pool, preparing, quiet
from miss_server.storage.postgres.seat import Seat
from miss_server.storage.schema import prekeys as prekeys_table
from miss_server.storage.sql import endings, epochs, locks, prekeys, settings
from miss_server.storage.witness import Testimony
from tests.server.storage import (
    test_copying,
    test_lives,
    test_postgres_trouble,
    test_preparing,
    test_races,
    test_seat,
)


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


ALL = (
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
)
"""Each with its killer and words of what that says."""
