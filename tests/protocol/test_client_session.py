"""The client's end of a connection: what it believes of a server, and what it may write."""

from collections.abc import Callable

import msgspec
import pytest

from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.client_session import ClientSession, batches, close_reason
from miss_protocol.codec import client_codec, server_codec
from miss_protocol.digest import EMPTY, gap_hash, roll
from miss_protocol.errors import CloseCode, LocalError, Malformed
from miss_protocol.states import ClientState
from tests.support import wire_samples as w

CODEC = server_codec(f.MSGPACK)
CHALLENGE = f.Challenge(w.NONCE, w.DOMAIN, w.AT)
WELCOME = f.Welcome(w.ALICE, w.EPOCH, 3, 0, 0, w.AT, 50, 1)


def message(*frames: f.Frame) -> bytes:
    return CODEC.encode(list(frames))


def written(session: ClientSession) -> list[f.ClientFrame]:
    """What the server would read now."""
    return [CODEC.decode_frame(raw) for data in session.data_to_send() for raw in CODEC.split(data)]


def fresh() -> ClientSession:
    return ClientSession(client_codec(f.MSGPACK), position=0, digest=EMPTY)


def challenged() -> ClientSession:
    session = fresh()
    assert session.receive(message(CHALLENGE)) == [s.Challenged(CHALLENGE)]
    return session


def greeted() -> ClientSession:
    session = challenged()
    session.hello(w.hello())
    assert written(session) == [w.hello()]
    return session


def catching_up() -> ClientSession:
    session = greeted()
    assert session.receive(message(WELCOME)) == [s.Welcomed(WELCOME)]
    return session


def live() -> ClientSession:
    session = catching_up()
    assert session.receive(message(f.Drained(0))) == [s.CaughtUp(0)]
    return session


def closed() -> ClientSession:
    session = live()
    session.closed()
    return session


def test_a_login_goes_from_challenge_to_live() -> None:
    states = [make().state for make in (fresh, challenged, greeted, catching_up, live, closed)]
    assert states == list(ClientState)


@pytest.mark.parametrize(
    ("make", "frame"),
    [
        (fresh, WELCOME),
        (fresh, w.deliver(1)),
        (fresh, f.Drained(0)),
        (challenged, CHALLENGE),
        (challenged, WELCOME),
        (greeted, CHALLENGE),
        (greeted, f.Sent(1, w.MESSAGE, w.AT)),
        (catching_up, WELCOME),
        (catching_up, CHALLENGE),
        (live, f.Drained(0)),
        (live, WELCOME),
    ],
)
def test_a_server_out_of_step_is_not_believed(
    make: Callable[[], ClientSession], frame: f.Frame
) -> None:
    with pytest.raises(Malformed):
        make().receive(message(frame))


@pytest.mark.parametrize("make", [fresh, challenged, greeted, catching_up, live])
def test_errors_goodbyes_and_pings_come_in_every_state(make: Callable[[], ClientSession]) -> None:
    session = make()
    error, bye = f.Error("busy", "…"), f.Bye("busy", 2.0)
    events = session.receive(message(error, f.Ping(4), f.Pong(1), bye))
    assert events == [s.ErrorTold(error), s.Leaving(bye)]
    assert written(session) == [f.Pong(4)]


def test_what_a_newer_server_adds_is_passed_over() -> None:
    session = live()
    frames = [{"op": "typing", "who": 1}, f.Drained(0)]
    with pytest.raises(Malformed):  # the second is out of place: it was read
        session.receive(msgspec.msgpack.encode(frames))
    session = catching_up()
    assert session.receive(msgspec.msgpack.encode(frames)) == [s.CaughtUp(0)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([{"op": "sent", "sn": "1"}]),
        msgspec.msgpack.encode([{"op": "hello"}]),
        msgspec.msgpack.encode([{"op": "bye", "code": "busy", "retry_after": float("nan")}]),
        msgspec.msgpack.encode([{"op": "bye", "code": "busy", "retry_after": 1e9}]),
    ],
)
def test_what_a_server_may_not_write_ends_the_connection(data: bytes) -> None:
    with pytest.raises(Malformed):
        live().receive(data)


def test_nothing_is_read_after_the_end() -> None:
    assert closed().receive(message(f.Ping(1))) == []


# --- rows -----------------------------------------------------------------------------------------


def test_rows_come_in_order_and_roll_the_digest() -> None:
    session = catching_up()
    row, gap = w.deliver(1), f.Gap(2, 3, "expired", 2, (w.ROW_HASH, gap_hash("quota")))
    events = session.receive(message(row, gap, f.Drained(3)))
    first = roll(EMPTY, 1, w.ROW_HASH)
    last = roll(roll(first, 2, w.ROW_HASH), 3, gap_hash("quota"))
    assert events == [s.Delivered(row, first), s.GapSeen(gap, last), s.CaughtUp(3)]
    assert (session.position, session.digest) == (3, last)


@pytest.mark.parametrize(
    "frame",
    [
        w.deliver(0),
        w.deliver(2),
        w.deliver(3),
        f.Gap(2, 2, "expired", 1, (w.ROW_HASH,)),
        f.Gap(1, 2, "expired", 2, (w.ROW_HASH,)),
        f.Gap(1, 1, "expired", 1, ()),
        f.Gap(1, 0, "expired", 0, ()),
    ],
)
def test_a_server_that_skips_repeats_or_miscounts_rows_is_not_believed(frame: f.Frame) -> None:
    session = catching_up()
    with pytest.raises(Malformed):
        session.receive(message(frame))
    assert (session.position, session.digest) == (0, EMPTY)


def test_of_what_another_process_saved_only_the_rest_is_news() -> None:
    hashes = tuple(bytes([n]) * 32 for n in range(4))
    row, gap = s.Delivered(w.deliver(1), b"1"), s.GapSeen(f.Gap(2, 5, "quota", 9, hashes), b"5")
    assert s.unsaved(row, 0) is row
    assert s.unsaved(row, 1) is None
    assert s.unsaved(gap, 0) is s.unsaved(gap, 1) is gap
    rest = [s.unsaved(gap, position) for position in (2, 4)]
    assert rest == [
        s.GapSeen(f.Gap(3, 5, "quota", 8, hashes[1:]), b"5"),
        s.GapSeen(f.Gap(5, 5, "quota", 6, hashes[3:]), b"5"),
    ]
    assert s.unsaved(gap, 5) is s.unsaved(gap, 6) is None
    short = s.GapSeen(f.Gap(2, 5, "expired", 1, hashes), b"5")  # a server that counts too few
    assert s.unsaved(short, 3) == s.GapSeen(f.Gap(4, 5, "expired", 2, hashes[2:]), b"5")


def test_a_connection_that_the_store_has_overtaken_goes_on() -> None:
    session = catching_up()
    [event] = session.receive(message(f.Gap(1, 3, "expired", 3, (w.ROW_HASH,) * 3)))
    assert isinstance(event, s.GapSeen)
    assert s.unsaved(event, 2) == s.GapSeen(
        f.Gap(3, 3, "expired", 1, (w.ROW_HASH,)), session.digest
    )
    session.ack(f.Ack(position=3))
    assert session.receive(message(f.Drained(3))) == [s.CaughtUp(3)]


def test_drained_elsewhere_than_was_delivered_is_not_believed() -> None:
    with pytest.raises(Malformed):
        catching_up().receive(message(w.deliver(1), f.Drained(2)))


def test_after_a_restore_rows_count_from_where_the_server_stands() -> None:
    session = ClientSession(client_codec(f.MSGPACK), position=9, digest=bytes([1]) * 32)
    session.receive(message(CHALLENGE))
    session.hello(msgspec.structs.replace(w.hello(), acked=9, digest=bytes([1]) * 32))
    digest = bytes([2]) * 32
    restored = msgspec.structs.replace(WELCOME, acked=4, restored=w.AT, digest=digest)
    session.receive(message(restored))
    assert (session.position, session.digest) == (4, digest)
    (event,) = session.receive(message(w.deliver(5)))
    assert event == s.Delivered(w.deliver(5), roll(digest, 5, w.ROW_HASH))


def test_a_restore_without_a_digest_to_go_on_from_is_not_believed() -> None:
    with pytest.raises(Malformed):
        greeted().receive(message(msgspec.structs.replace(WELCOME, restored=w.AT)))


def test_a_digest_without_a_restore_moves_nothing() -> None:
    session = greeted()
    session.receive(message(msgspec.structs.replace(WELCOME, acked=4, digest=bytes([2]) * 32)))
    assert (session.position, session.digest) == (0, EMPTY)


# --- sending --------------------------------------------------------------------------------------


def test_hello_must_tell_where_this_session_stands() -> None:
    session = challenged()
    for wrong in ({"acked": 1}, {"digest": bytes([1]) * 32}):
        with pytest.raises(LocalError):
            session.hello(msgspec.structs.replace(w.hello(), **wrong))
    assert session.data_to_send() == []


@pytest.mark.parametrize(
    ("make", "write"),
    [
        (fresh, lambda c: c.hello(w.hello())),
        (greeted, lambda c: c.hello(w.hello())),
        (greeted, lambda c: c.send(w.send())),
        (greeted, lambda c: c.ack(f.Ack(position=0))),
        (live, lambda c: c.hello(w.hello())),
        (live, lambda c: c.ack(f.Ack(position=1))),
        (live, lambda c: c.nack(1, "malformed")),
        (closed, lambda c: c.send(w.send())),
        (closed, lambda c: c.ping(1)),
    ],
)
def test_this_end_cannot_write_a_frame_out_of_place(
    make: Callable[[], ClientSession], write: Callable[[ClientSession], None]
) -> None:
    session = make()
    with pytest.raises(LocalError):
        write(session)
    assert session.data_to_send() == []
    assert session.in_flight == set()


@pytest.mark.parametrize("make", [catching_up, live])
def test_sends_leave_while_catching_up_and_live(make: Callable[[], ClientSession]) -> None:
    session = make()
    assert session.may_send
    session.send(w.send(1))
    assert written(session) == [w.send(1)]


@pytest.mark.parametrize("make", [fresh, challenged, greeted, closed])
def test_sends_wait_before_and_after(make: Callable[[], ClientSession]) -> None:
    assert not make().may_send


@pytest.mark.parametrize(
    ("reply", "event"),
    [
        (f.Sent(1, w.MESSAGE, w.AT), s.Settled),
        (f.Refused(1, "expired"), s.Settled),
        (f.RetrySend(1, "not_durable", 2.0), s.RetryWanted),
    ],
)
def test_an_answer_makes_room_for_another_send(
    reply: f.Sent | f.Refused | f.RetrySend, event: Callable[[f.Frame], s.Event]
) -> None:
    session = live()
    for sn in range(1, limits.SENDS_IN_FLIGHT_MAX + 1):
        session.send(w.send(sn))
    assert not session.may_send
    with pytest.raises(LocalError):
        session.send(w.send(100))
    assert session.receive(message(reply)) == [event(reply)]
    assert session.may_send


def test_statuses_and_stored_acks_are_told() -> None:
    session = live()
    status = f.Status(1, w.MESSAGE, 1, ())
    events = session.receive(message(status, f.Acked(3)))
    assert events == [s.StatusChanged(status), s.AckStored(3)]


def test_what_was_delivered_may_be_acknowledged_and_refused() -> None:
    session = catching_up()
    session.receive(message(w.deliver(1)))
    session.nack(1, "undecryptable")
    session.ack(f.Ack(position=1))
    session.ack(f.Ack(tick=1))
    session.ping(3)
    assert written(session) == [
        f.Nack(1, "undecryptable"),
        f.Ack(position=1),
        f.Ack(tick=1),
        f.Ping(3),
    ]


def test_the_end_forgets_what_was_not_written() -> None:
    session = live()
    session.send(w.send())
    session.closed()
    assert session.data_to_send() == []


# --- packing and closing --------------------------------------------------------------------------


def test_many_frames_go_into_as_few_messages_as_the_limits_allow() -> None:
    many: list[f.Frame] = [f.Ping(n) for n in range(limits.FRAMES_PER_MESSAGE_MAX + 1)]
    messages = batches(CODEC, many)
    assert len(messages) == 2
    assert [CODEC.decode_frame(raw) for data in messages for raw in CODEC.split(data)] == many
    assert len(batches(CODEC, many[1:])) == 1


def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    def filled(size: int) -> f.Frame:
        empty = len(CODEC.encode([msgspec.structs.replace(w.send(), body=bytes(70_000))]))
        return msgspec.structs.replace(w.send(), body=bytes(70_000 + size - empty))

    whole, half = filled(limits.MESSAGE_MAX), filled(limits.MESSAGE_MAX // 2)
    assert [len(data) for data in batches(CODEC, [whole])] == [limits.MESSAGE_MAX]
    assert len(batches(CODEC, [half, half])) == 1
    over = filled(limits.MESSAGE_MAX // 2 + 2)
    assert len(batches(CODEC, [over, over])) == 2


def test_a_frame_that_no_message_can_carry_is_a_fault_of_this_side() -> None:
    huge = msgspec.structs.replace(w.send(), body=bytes(limits.MESSAGE_MAX))
    with pytest.raises(LocalError):
        batches(CODEC, [f.Ping(1), huge])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1000, (True, None)),
        (1006, (True, None)),
        (4008, (True, CloseCode.ACK_TIMEOUT)),
        (4499, (True, None)),
        (4500, (False, None)),
        (4503, (False, CloseCode.REVOKED)),
        (4999, (False, None)),
        (5000, (True, None)),
    ],
)
def test_a_close_code_tells_whether_to_come_back(
    code: int, expected: tuple[bool, CloseCode | None]
) -> None:
    assert close_reason(code) == expected
