"""The server's end of a connection: what it lets in, in which order, and when it gives up."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import CloseCode, Code, LocalError
from miss_protocol.server_session import AckCame, NackCame, SendCame, ServerSession
from miss_protocol.states import ServerState
from tests.support import wire_samples as w
from tests.support.server_sessions import (
    CODEC,
    ROW_SIZE,
    WELCOME,
    greeted,
    live,
    message,
    opened,
    told,
    welcomed,
    written,
)

# --- order ----------------------------------------------------------------------------------------


def test_a_login_goes_from_challenge_to_live() -> None:
    session = opened()
    passed = [session.state]
    session.receive(message(w.hello()), 0.0)
    passed.append(session.state)
    session.welcome(WELCOME, resume_after=2, ticks_after=0, window=0)
    passed.append(session.state)
    session.deliver(w.deliver(3), ROW_SIZE, 0.0)
    session.drained()
    passed.append(session.state)
    assert passed == list(ServerState)[:-1]
    kinds = [type(frame) for frame in written(session)]
    assert kinds == [f.Welcome, f.Deliver, f.Drained]
    assert session.data_to_send() == []


@pytest.mark.parametrize(
    ("make", "frame", "about"),
    [
        (opened, w.send(), "send"),
        (opened, f.Ack(position=0), "ack"),
        (opened, f.Nack(1, "malformed"), "nack"),
        (greeted, w.hello(), "hello"),
        (greeted, w.send(), "send"),
        (welcomed, w.hello(), "hello"),
        (live, w.hello(), "hello"),
    ],
)
def test_a_frame_out_of_place_is_refused_alone(
    make: Callable[[], ServerSession], frame: f.Frame, about: str
) -> None:
    session = make()
    before = session.state
    assert session.receive(message(frame, f.Ping(5)), 1.0) == []
    answers = written(session)
    assert isinstance(answers[0], f.Error)
    assert (answers[0].code, answers[0].about) == ("out_of_place", about)
    assert answers[1:] == [f.Pong(5)]
    assert session.state is before
    assert session.close_code is None


@pytest.mark.parametrize("make", [opened, greeted, welcomed, live])
def test_pings_are_answered_in_every_state(make: Callable[[], ServerSession]) -> None:
    session = make()
    assert session.receive(message(f.Ping(9), f.Pong(3)), 1.0) == []
    assert written(session) == [f.Pong(9)]


@pytest.mark.parametrize(
    ("make", "write"),
    [
        (opened, lambda s: s.drained()),
        (opened, lambda s: s.welcome(WELCOME, resume_after=0, ticks_after=0, window=0)),
        (greeted, lambda s: s.deliver(w.deliver(1), ROW_SIZE, 0.0)),
        (greeted, lambda s: s.answer(f.Sent(1, w.MESSAGE, w.AT))),
        (live, lambda s: s.drained()),
        (live, lambda s: s.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT))),
    ],
)
def test_this_end_cannot_write_a_frame_out_of_place(
    make: Callable[[], ServerSession], write: Callable[[ServerSession], None]
) -> None:
    session = make()
    with pytest.raises(LocalError):
        write(session)
    assert not session.has_data


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x80", b"\xc0", b"\x91", b"\x90\x00", b"\xdd\xff\xff\xff\xff", b"x" * 600_000],
)
def test_what_is_no_array_of_frames_ends_the_connection(data: bytes) -> None:
    session = live()
    assert session.receive(data, 1.0) == []
    assert session.close_code is CloseCode.PROTOCOL
    assert told(session) == [("malformed", "")]


def test_too_many_frames_in_a_message_end_the_connection() -> None:
    session = live()
    session.receive(message(*[f.Ping(1)] * (limits.FRAMES_PER_MESSAGE_MAX + 1)), 1.0)
    assert session.close_code is CloseCode.PROTOCOL


def test_an_empty_array_is_a_sign_of_life_and_nothing_else() -> None:
    session = live()
    assert session.receive(message(), 1.0) == []
    assert not session.has_data


def test_a_bad_frame_is_refused_and_its_neighbours_count() -> None:
    session = live(2)
    bad = [{"op": "send"}, {"op": "dance"}, {"n": 1}, 7, {"op": "ack", "position": -1}]
    frames: list[Any] = [f.Ping(1), *bad, f.Ack(position=2)]
    events = session.receive(msgspec.msgpack.encode(frames), 1.0)
    assert events == [AckCame(f.Ack(position=2))]
    answers = written(session)
    assert answers[0] == f.Pong(1)
    assert [(e.code, e.about) for e in answers[1:] if isinstance(e, f.Error)] == [
        ("malformed", "send"),
        ("unsupported", "dance"),
        ("malformed", ""),
        ("malformed", ""),
        ("malformed", "ack"),
    ]
    assert session.close_code is None


def test_the_text_of_an_error_is_the_codes_and_tells_nothing_else() -> None:
    session = live()
    session.receive(msgspec.msgpack.encode([{"op": "send", "sn": "secret"}]), 1.0)
    (error,) = written(session)
    assert error == f.Error("malformed", Code.MALFORMED.text("en"), "send")


def test_nothing_is_read_after_the_end() -> None:
    session = live()
    session.close(CloseCode.REPLACED)
    assert session.receive(message(f.Ping(1)), 1.0) == []
    assert not session.has_data
    session.tick(1e9)
    assert session.close_code is CloseCode.REPLACED


def test_the_first_reason_to_close_stays() -> None:
    session = live()
    session.close(CloseCode.REVOKED)
    session.close(CloseCode.TRY_LATER)
    assert session.close_code is CloseCode.REVOKED


def test_nothing_is_written_after_the_end_but_what_was_due() -> None:
    session = live()
    session.bye(Code.BUSY, 2.0)
    session.close(CloseCode.DRAINING)
    with pytest.raises(LocalError):
        session.acked(1)
    assert written(session) == [f.Bye("busy", 2.0)]


def test_a_peer_that_writes_and_never_reads_is_ended() -> None:
    session = opened()
    flood = message(*[f.Ping(1)] * limits.FRAMES_PER_MESSAGE_MAX)
    for _ in range(4):
        session.receive(flood, 1.0)
    assert session.close_code is None
    session.receive(flood, 1.0)
    assert session.close_code is CloseCode.RATE
    answers = written(session)
    assert len(answers) == limits.ANSWERS_UNREAD_MAX + 2
    assert isinstance(answers[-1], f.Error)
    assert answers[-1].code == "rate_limited"


def test_a_peer_that_reads_may_write_on_for_ever() -> None:
    session = opened()
    flood = message(*[f.Ping(1)] * limits.FRAMES_PER_MESSAGE_MAX)
    for _ in range(6):
        session.receive(flood, 1.0)
        assert len(written(session)) == limits.FRAMES_PER_MESSAGE_MAX
    assert session.close_code is None


def test_rows_and_statuses_do_not_count_as_unread_answers() -> None:
    session = welcomed()
    for position in range(1, limits.ANSWERS_UNREAD_MAX + 2):
        session.deliver(w.deliver(position), 1, 0.0)
    session.receive(message(f.Ping(1)), 1.0)
    assert session.close_code is None


# --- sends ----------------------------------------------------------------------------------------


def test_a_send_is_handed_over_and_answered() -> None:
    session = live()
    assert session.receive(message(w.send(1)), 1.0) == [SendCame(w.send(1))]
    session.answer(f.Sent(1, w.MESSAGE, w.AT))
    assert written(session) == [f.Sent(1, w.MESSAGE, w.AT)]


@pytest.mark.parametrize("make", [welcomed, live])
def test_sends_count_while_catching_up_and_live(make: Callable[[], ServerSession]) -> None:
    session = make()
    before = session.state
    assert session.receive(message(w.send(1)), 1.0) == [SendCame(w.send(1))]
    assert session.state is before


def test_too_many_sends_in_flight_are_to_be_repeated() -> None:
    session = live()
    most = limits.SENDS_IN_FLIGHT_MAX
    small = [msgspec.structs.replace(w.send(sn), wraps=()) for sn in range(1, most + 2)]
    events = session.receive(message(*small), 1.0)
    assert len(events) == most
    assert written(session) == [f.RetrySend(most + 1, "rate_limited", 1.0)]
    session.answer(f.Refused(1, "expired"))
    assert session.receive(message(w.send(most + 1)), 1.0) == [SendCame(w.send(most + 1))]
    assert session.receive(message(w.send(most + 2)), 1.0) == []


# --- acknowledging --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ack", "code"),
    [
        (f.Ack(position=4), "ack_beyond"),
        (f.Ack(position=0), "ack_backwards"),
        (f.Ack(tick=2), "ack_beyond"),
        (f.Ack(receipts=(w.receipt(),) * (limits.RECEIPTS_PER_ACK_MAX + 1)), "too_large"),
    ],
)
def test_an_ack_of_what_was_not_written_changes_nothing(ack: f.Ack, code: str) -> None:
    session = live(3)
    session.status(f.Status(1, w.MESSAGE, 1, ()))
    session.receive(message(f.Ack(position=1)), 1.0)
    written(session)
    room = session.room
    assert session.receive(message(ack), 2.0) == []
    assert told(session) == [(code, "ack")]
    assert (session.acknowledged, session.room) == (1, room)


def test_acks_are_cumulative_and_may_be_repeated() -> None:
    session = live(3)
    for position in (2, 2, 3):
        ack = f.Ack(position=position, ref=position)
        assert session.receive(message(ack), 1.0) == [AckCame(ack)]
        assert session.acknowledged == position
    session.acked(3)
    assert written(session) == [f.Acked(3)]


def test_an_ack_of_a_tick_or_of_receipts_alone_moves_no_position() -> None:
    session = live(3)
    session.status(f.Status(7, w.MESSAGE, 1, ()))
    ack = f.Ack(tick=7, receipts=(w.receipt(),) * limits.RECEIPTS_PER_ACK_MAX)
    assert session.receive(message(ack), 1.0) == [AckCame(ack)]
    assert session.acknowledged == 0


def test_what_the_client_had_stored_before_may_be_acknowledged_at_once() -> None:
    session = welcomed(resume_after=5, acked=3)
    ack = f.Ack(position=5)
    assert session.receive(message(ack), 1.0) == [AckCame(ack)]


def test_nacks_are_of_delivered_and_unacknowledged_rows() -> None:
    session = live(3)
    session.receive(message(f.Ack(position=1)), 1.0)
    assert session.receive(message(f.Nack(1, "malformed")), 1.0) == []
    assert session.receive(message(f.Nack(4, "malformed")), 1.0) == []
    assert told(session) == [("nack_unknown", "nack")] * 2
    for position in (2, 3):
        nack = f.Nack(position, "untrusted")
        assert session.receive(message(nack), 1.0) == [NackCame(nack)]


# --- delivering -----------------------------------------------------------------------------------


def test_rows_are_written_without_holes() -> None:
    session = welcomed(resume_after=2)
    for wrong in (1, 2, 4):
        with pytest.raises(LocalError):
            session.deliver(w.deliver(wrong), ROW_SIZE, 0.0)
    session.deliver(f.Gap(3, 5, "expired", 3, (w.ROW_HASH,) * 3), ROW_SIZE, 0.0)
    session.deliver(w.deliver(6), ROW_SIZE, 0.0)
    session.drained()
    assert session.delivered == 6
    assert written(session)[-1] == f.Drained(6)


def test_status_ticks_only_rise() -> None:
    session = welcomed(ticks_after=4)
    with pytest.raises(LocalError):
        session.status(f.Status(4, w.MESSAGE, 1, ()))
    session.status(f.Status(6, w.MESSAGE, 1, ()))
    assert session.ticked == 6


def test_the_window_bounds_what_is_not_acknowledged_and_grows_with_success() -> None:
    session = welcomed()
    assert session.room == limits.WINDOW_START
    session.deliver(w.deliver(1), 10_000, 0.0)
    session.deliver(w.deliver(2), 5_000, 0.0)
    assert session.room == limits.WINDOW_START - 15_000
    session.deliver(w.deliver(3), 5_000, 0.0)
    assert session.room < 0
    session.receive(message(f.Ack(position=2)), 1.0)
    assert session.window == limits.WINDOW_START + 15_000
    assert session.room == session.window - 5_000
    session.receive(message(f.Ack(position=3)), 1.0)
    assert session.room == session.window == limits.WINDOW_START + 20_000


def test_the_window_has_a_ceiling() -> None:
    session = welcomed()
    session.deliver(w.deliver(1), 2 * limits.WINDOW_MAX, 0.0)
    session.receive(message(f.Ack(position=1)), 1.0)
    assert session.window == limits.WINDOW_MAX


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (0, limits.WINDOW_START),
        (1, limits.WINDOW_MIN),
        (limits.WINDOW_MIN + 1, limits.WINDOW_MIN + 1),
        (10 * limits.WINDOW_MAX, limits.WINDOW_MAX),
    ],
)
def test_a_connection_begins_with_the_window_of_the_last_one(given: int, taken: int) -> None:
    assert welcomed(window=given).window == taken


def test_there_is_no_room_before_the_welcome_or_after_the_end() -> None:
    assert greeted().room == 0
    session = live()
    session.close(CloseCode.REPLACED)
    assert session.room == 0


def test_a_message_is_cut_where_the_limits_are() -> None:
    session = welcomed()
    for position in range(1, 61):
        row = msgspec.structs.replace(w.deliver(position), body=bytes(limits.BODY_MAX))
        session.deliver(row, limits.BODY_MAX, 0.0)
    messages = session.data_to_send()
    assert len(messages) > 1
    assert max(map(len, messages)) <= limits.MESSAGE_MAX
    positions = [
        frame.position
        for data in messages
        for frame in map(CODEC.decode_frame, CODEC.split(data))
        if isinstance(frame, f.Deliver)
    ]
    assert positions == list(range(1, 61))


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [opened, greeted])
def test_a_connection_without_a_hello_in_time_is_ended(make: Callable[[], ServerSession]) -> None:
    session = make()
    session.receive(message(f.Ping(1)), limits.HELLO_TIMEOUT - 1)  # does not buy time
    session.tick(limits.HELLO_TIMEOUT - 0.1)
    assert session.close_code is None
    session.tick(limits.HELLO_TIMEOUT)
    assert session.close_code is CloseCode.TRY_LATER


def test_a_silent_client_is_asked_and_then_ended() -> None:
    session = live(1, now=100.0)
    patience = session.patience
    assert patience == limits.ACK_TIMEOUT + ROW_SIZE / limits.SLOWEST_LINK
    assert session.deadline == 100.0 + patience / 2
    session.tick(session.deadline - 0.01)
    assert not session.has_data
    session.tick(session.deadline)
    assert written(session) == [f.Ping(1)]
    session.tick(100.0 + patience - 0.01)
    assert session.close_code is None
    window = session.window
    session.tick(100.0 + patience)
    assert session.close_code is CloseCode.ACK_TIMEOUT
    assert session.window == window // 2


def test_a_pong_buys_time_for_a_slow_client() -> None:
    session = live(1, now=100.0)
    session.tick(110.0)
    session.receive(message(f.Pong(1)), 110.1)
    session.tick(115.0)
    assert session.close_code is None
    session.tick(session.deadline)
    assert [frame for frame in written(session) if isinstance(frame, f.Ping)] == [
        f.Ping(1),
        f.Ping(2),
    ]


def test_patience_counts_from_when_the_transport_took_everything() -> None:
    session = live(1, now=100.0)
    session.flushed(150.0)
    assert session.deadline == 150.0 + session.patience / 2
    session.flushed(120.0)
    assert session.deadline == 150.0 + session.patience / 2


def test_a_slow_link_has_time_for_all_that_is_on_it() -> None:
    session = welcomed()
    session.deliver(w.deliver(1), 100 * limits.SLOWEST_LINK, 0.0)
    session.tick(session.deadline)
    session.tick(limits.ACK_TIMEOUT + 99)
    assert session.close_code is None
    session.tick(limits.ACK_TIMEOUT + 100)
    assert session.close_code is CloseCode.ACK_TIMEOUT


def test_a_second_row_does_not_restart_the_patience_for_the_first() -> None:
    session = live(1, now=100.0)
    session.deliver(w.deliver(2), ROW_SIZE, 104.0)
    assert session.deadline == 100.0 + session.patience / 2


def test_the_window_is_not_halved_below_its_floor() -> None:
    session = welcomed(window=limits.WINDOW_MIN)
    session.deliver(w.deliver(1), 1, 0.0)
    session.tick(20.0)
    session.tick(40.0)
    assert session.close_code is CloseCode.ACK_TIMEOUT
    assert session.window == limits.WINDOW_MIN


def test_an_idle_connection_ends_when_nothing_comes_for_long() -> None:
    session = live()
    session.receive(message(f.Ping(1)), 50.0)
    session.tick(50.0 + limits.IDLE_TIMEOUT - 1)
    assert session.close_code is None
    session.tick(50.0 + limits.IDLE_TIMEOUT)
    assert session.close_code is CloseCode.ACK_TIMEOUT
    assert session.window == limits.WINDOW_START
