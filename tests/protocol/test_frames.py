"""The frames' own definitions: what is always there, what is told apart, what stays as it is."""

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from tests.support import wire_samples as w

CLIENT = {"hello", "send", "ack", "nack", "ping", "pong"}
SERVER = {
    *("challenge", "welcome", "sent", "refused", "retry", "deliver", "gap", "drained", "status"),
    *("acked", "error", "bye", "ping", "pong"),
}


def op(frame: f.Frame) -> str:
    return str(frame.__struct_config__.tag)


def test_the_samples_have_every_frame_of_each_direction() -> None:
    assert {op(sample.frame) for sample in w.SAMPLES if sample.sender == "client"} == CLIENT
    assert {op(sample.frame) for sample in w.SAMPLES if sample.sender == "server"} == SERVER


def test_the_samples_set_every_field() -> None:
    """Else a field could be renamed and no vector would show it."""
    unset: set[tuple[str, str]] = set()
    done: set[tuple[str, str]] = set()
    for sample in w.SAMPLES:
        for field in msgspec.structs.fields(sample.frame):
            name = (op(sample.frame), field.name)
            given = getattr(sample.frame, field.name)
            (done if field.required or given != field.default else unset).add(name)
    assert unset <= done


@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_the_op_is_written_first(sample: w.Sample) -> None:
    """Not required of others, but a reader that streams is spared a second look."""
    assert next(iter(msgspec.to_builtins(sample.frame))) == "op"


def test_what_is_absent_is_told_apart_from_nothing() -> None:
    assert msgspec.to_builtins(f.Ack()) == {"op": "ack", "receipts": ()}
    assert msgspec.json.decode(b'{"op":"ack","position":0}', type=f.Ack).position == 0


def test_the_numbers_stay_within_what_json_readers_hold_exactly() -> None:
    most = msgspec.json.decode(b'{"op":"ping","n":9007199254740991}', type=f.Ping)
    assert most.n == 2**53 - 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"op":"ping","n":9007199254740992}', type=f.Ping)


@pytest.mark.parametrize("wait", [-1.0, limits.RETRY_AFTER_MAX + 1, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "frame",
    [
        f.Bye("busy", 0.0),
        f.RetrySend(1, "busy", 0.0),
        f.Refused(1, "busy", (), 0.0),
        f.Error("busy", "…", "", 1, 0.0),
    ],
)
def test_a_wait_is_one_that_a_timer_can_take(frame: f.Frame, wait: float) -> None:
    frame.retry_after = wait  # type: ignore[attr-defined]  # each of these has it
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=type(frame))


def test_a_delivered_row_has_what_its_hash_covers() -> None:
    fields = {field.name for field in msgspec.structs.fields(f.Deliver)}
    assert fields >= {"account", "device", "id", "body", "wrap"}
