"""Named faults of first contacts and of standing, each with the test of the contract that must fail by it.

Each wraps real functions or statements for the length of a `with` block, as those of `faults` do.
`test_meeting_gate` runs the tests, on SQLite: what both engines share is where these mistakes are made.
"""

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from miss_protocol.errors import Code
from miss_server.storage.settlement import meeting
from miss_server.storage.settlement.meeting import Meeting, Passage
from miss_server.storage.settlement.refusal import Refusal
from miss_server.storage.settlement.sends import Sends
from miss_server.storage.sql import relations, standing
from miss_server.storage.sqlite import meeting as sqlite_meeting
from tests.contract import test_departures, test_meeting, test_standing
from tests.mutation.node_faults import NodeFault


def strangers_write_without_end(stack: ExitStack) -> None:
    """What nobody answered is not counted."""
    real = Meeting.note

    def note(self: Meeting, own: str, passage: Passage, *more: Any) -> None:
        real(self, own, passage, *more)
        for peer in passage.peers:
            self._of(own, peer).unanswered = 0

    stack.enter_context(patch.object(Meeting, "note", note))


def a_block_that_tells(stack: ExitStack) -> None:
    """Who is blocked is refused as if it were declined."""
    real = Meeting.judge

    def judge(self: Meeting, own: str, *more: Any) -> Passage:
        passage = real(self, own, *more)
        if passage.silent:
            raise Refusal(Code.DECLINED, sorted(passage.silent))
        return passage

    stack.enter_context(patch.object(Meeting, "judge", judge))


def a_block_that_keeps_nothing_away(stack: ExitStack) -> None:
    """What a blocked account writes arrives."""
    real = Meeting.judge

    def judge(self: Meeting, *given: Any) -> Passage:
        passage = real(self, *given)
        return Passage(passage.peers, passage.new)

    stack.enter_context(patch.object(Meeting, "judge", judge))


def a_block_whose_end_is_never_told(stack: ExitStack) -> None:
    """A silenced message never expires: a device that is off would have told."""
    real = sqlite_meeting.keep

    def keep(db: Any, kept: Any, _: Any) -> None:
        real(db, kept, ())

    stack.enter_context(patch.object(sqlite_meeting, "keep", keep))


def decline_forgotten(stack: ExitStack) -> None:
    """A decline is answered, and not kept."""
    real = relations.act

    def act(connection: Any, account: Any, peer: Any, what: Any, now_ms: int) -> Any:
        if what == "decline":
            return relations.one(connection, account, peer)
        return real(connection, account, peer, what, now_ms)

    stack.enter_context(patch.object(relations, "act", act))


def accept_not_reciprocal(stack: ExitStack) -> None:
    """Only a message counts as an answer."""
    written = property(lambda relation: relation.first_ms is not None)
    stack.enter_context(patch.object(meeting._Relation, "answers", written))


def control_messages_as_a_way_round(stack: ExitStack) -> None:
    """Whoever calls a message a control message may write it to anybody."""
    real = Meeting.judge

    def judge(self: Meeting, own: str, names: Any, kind: str, now_ms: int) -> Passage:
        return Passage() if kind == "control" else real(self, own, names, kind, now_ms)  # type: ignore[arg-type]

    stack.enter_context(patch.object(Meeting, "judge", judge))


def an_answer_gives_nothing_back(stack: ExitStack) -> None:
    """A budget is spent for a day on whomever, answered or not."""
    everybody = sqlite_meeting._SPENT.partition(" AND NOT ")[0]
    assert everybody != sqlite_meeting._SPENT
    stack.enter_context(patch.object(sqlite_meeting, "_SPENT", everybody))


def a_day_without_a_budget(stack: ExitStack) -> None:
    """Only the last hour is looked at."""
    stack.enter_context(patch.object(sqlite_meeting, "DAY_MS", meeting.HOUR_MS))


def reach_rules_ignored(stack: ExitStack) -> None:
    """Who may write first is anybody, whatever an account says."""
    stack.enter_context(patch.object(Meeting, "_may_reach", lambda *_: True))


def restrictions_ignored(stack: ExitStack) -> None:
    """A restricted account writes to new people as before, within its budget."""
    real = Meeting.see_again

    def see_again(self: Meeting, rows: Any, budgets: Any, *more: Any) -> None:
        real(self, rows, [one for one in budgets if one[1] >= 0], *more)

    stack.enter_context(patch.object(Meeting, "see_again", see_again))


def the_suspended_are_written_to(stack: ExitStack) -> None:
    """A send is not checked against who is suspended."""
    real = Sends.see

    def see(self: Sends, accounts: Any, *more: Any, **named: Any) -> None:
        real(self, [(*one[:4], False) for one in accounts], *more, **named)

    stack.enter_context(patch.object(Sends, "see", see))


def sessions_of_the_suspended_go_on_elsewhere(stack: ExitStack) -> None:
    """A suspension leaves the generations of sessions, by which other nodes would find them ended."""
    stack.enter_context(patch.object(standing, "end_sessions", lambda *_: ()))


def coming_back_lifts_every_suspension(stack: ExitStack) -> None:
    """Of several causes of a suspension, the first to end lifts it."""
    stack.enter_context(patch.object(standing, "is_suspended_by_anything", lambda *_: False))


_FIRST_TWO = test_meeting.test_two_messages_may_be_written_before_an_answer
_SILENCE = test_meeting.test_a_block_is_silence

ALL = (
    NodeFault(strangers_write_without_end, _FIRST_TWO, "'unanswered'"),
    NodeFault(a_block_that_tells, _SILENCE, "'declined' == 'sent'"),
    NodeFault(a_block_that_keeps_nothing_away, _SILENCE, "assert not [Row("),
    NodeFault(a_block_whose_end_is_never_told, _SILENCE, "'expired'"),
    NodeFault(
        decline_forgotten,
        test_meeting.test_who_declines_is_written_to_once_it_writes_or_accepts,
        "'declined'",
    ),
    NodeFault(
        accept_not_reciprocal,
        test_meeting.test_accepting_lets_write_without_an_answer,
        "'unanswered'",
    ),
    NodeFault(
        control_messages_as_a_way_round,
        test_meeting.test_a_control_message_neither_counts_nor_answers,
        "'unanswered'",
    ),
    NodeFault(
        an_answer_gives_nothing_back, test_meeting.test_reciprocity_costs_nothing, "'budget_spent'"
    ),
    NodeFault(
        a_day_without_a_budget,
        test_meeting.test_a_budget_of_new_people_an_hour_and_a_day,
        "AssertionError",
    ),
    NodeFault(
        reach_rules_ignored,
        test_meeting.test_who_may_reach_me,
        "'not_reachable'",
        {"whom": "contacts"},
    ),
    NodeFault(
        restrictions_ignored,
        test_standing.test_a_restricted_account_writes_only_to_who_answered_it,
        "AssertionError",
    ),
    NodeFault(
        the_suspended_are_written_to,
        test_standing.test_a_suspended_account_neither_sends_nor_receives,
        "AssertionError",
    ),
    NodeFault(
        sessions_of_the_suspended_go_on_elsewhere,
        test_standing.test_its_sessions_end_by_their_generation,
        "assert ()",
    ),
    NodeFault(
        coming_back_lifts_every_suspension,
        test_departures.test_another_suspension_is_not_lifted_by_coming_back,
        "assert False",
    ),
)
"""Each with its killer and words of what that says."""
