"""Named faults of what nodes tell each other and count together, as those of `node_faults`."""

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from miss_protocol.errors import CloseCode
from miss_server.doorbell.interface import News
from miss_server.doorbell.nodes import NodeDoorbell
from miss_server.doorbell.redis import RedisLine
from miss_server.http import shared_counting
from miss_server.http.shared_counting import SharedCounts
from miss_server.relay import sweep
from tests.contract import test_doorbell
from tests.mutation.node_faults import NodeFault
from tests.server.doorbell import test_redis
from tests.server.http import test_counting
from tests.server.relay import test_sweep
from tests.support import doorbells


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


ALL = (
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
