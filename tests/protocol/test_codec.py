"""What the wire tolerates, and what it refuses by which code, in both subprotocols."""

import json
from typing import Any

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.codec import Codec, FrameError, client_codec, server_codec
from miss_protocol.errors import Code, Malformed
from tests.support import wire_samples as w

SUBPROTOCOLS: tuple[f.Subprotocol, ...] = (f.MSGPACK, f.JSON)
both = pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)


def packed(subprotocol: f.Subprotocol, value: object) -> bytes:
    """Any value as a message of the subprotocol."""
    return json.dumps(value).encode() if subprotocol == f.JSON else msgspec.msgpack.encode(value)


def decoded(subprotocol: f.Subprotocol, *values: object) -> list[Any]:
    """What a server makes of each frame: a frame, or (code, op)."""
    return read(server_codec(subprotocol), packed(subprotocol, list(values)))


def read(codec: Codec[Any], message: bytes) -> list[Any]:
    outcomes: list[Any] = []
    for raw in codec.split(message):
        try:
            outcomes.append(codec.decode_frame(raw))
        except FrameError as error:
            outcomes.append((error.code, error.about))
    return outcomes


@both
@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_every_frame_survives_the_way(subprotocol: f.Subprotocol, sample: w.Sample) -> None:
    codec = (server_codec if sample.sender == "client" else client_codec)(subprotocol)
    assert read(codec, codec.encode([sample.frame, sample.frame])) == [sample.frame] * 2


@both
@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_no_end_takes_the_others_frames(subprotocol: f.Subprotocol, sample: w.Sample) -> None:
    codec = (client_codec if sample.sender == "client" else server_codec)(subprotocol)
    if isinstance(sample.frame, f.Ping | f.Pong):
        return
    op = sample.frame.__struct_config__.tag
    assert read(codec, codec.encode([sample.frame])) == [(Code.MALFORMED, op)]


def test_clients_speak_msgpack_unless_told_otherwise() -> None:
    assert client_codec().subprotocol == f.MSGPACK
    assert [server_codec(name).text for name in SUBPROTOCOLS] == [False, True]


@both
def test_bytes_are_base64_in_json_and_bin_in_msgpack(subprotocol: f.Subprotocol) -> None:
    message = server_codec(subprotocol).encode([w.hello()])
    if subprotocol == f.JSON:
        assert json.loads(message)[0]["device"] == "cHBwcHBwcHBwcHBwcHBwcA=="
    else:
        assert b"\xc4\x10" + w.PHONE in message


# --- tolerance ------------------------------------------------------------------------------------


@both
def test_unknown_fields_are_passed_over(subprotocol: f.Subprotocol) -> None:
    deep: Any = None
    for _ in range(limits.NESTING_MAX - 2):
        deep = [deep]
    frame = {"op": "ping", "later": {"x": [1, 2.5, None, True, "é"]}, "n": 3, "deep": deep}
    assert decoded(subprotocol, frame) == [f.Ping(3)]


@both
def test_the_op_need_not_come_first(subprotocol: f.Subprotocol) -> None:
    assert decoded(subprotocol, {"n": 3, "op": "ping"}) == [f.Ping(3)]


@both
def test_optional_fields_may_be_absent(subprotocol: f.Subprotocol) -> None:
    assert decoded(subprotocol, {"op": "ack"}) == [f.Ack()]


def test_integers_need_not_be_minimal_in_msgpack() -> None:
    codec = server_codec(f.MSGPACK)
    assert read(codec, b"\x91\x82\xa2op\xa4ping\xa1n\xcf" + bytes(7) + b"\x03") == [f.Ping(3)]


def test_white_space_is_free_in_json() -> None:
    assert read(server_codec(f.JSON), b' [ { "op" : "ping" , "n" : 3 } ] \n') == [f.Ping(3)]


# --- refusals of one frame ------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("frame", "code", "about"),
    [
        ({}, Code.MALFORMED, ""),
        ({"n": 1}, Code.MALFORMED, ""),
        ({"op": "Ping", "n": 1}, Code.UNSUPPORTED, "Ping"),
        ({"op": "x" * 300}, Code.UNSUPPORTED, "x" * 64),
        ({"op": ""}, Code.MALFORMED, ""),
        ({"op": 1}, Code.MALFORMED, ""),
        ({"op": None}, Code.MALFORMED, ""),
        ({"op": "ping"}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": "1"}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": 1.5}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": -1}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": 2**53}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": True}, Code.MALFORMED, "ping"),
        ({"op": "ping", "n": None}, Code.MALFORMED, "ping"),
        ({"op": "nack", "position": 1, "reason": "tired"}, Code.MALFORMED, "nack"),
        ({"op": "ack", "receipts": {}}, Code.MALFORMED, "ack"),
        ({"op": "welcome"}, Code.MALFORMED, "welcome"),
        ([], Code.MALFORMED, ""),
        ("ping", Code.MALFORMED, ""),
        (7, Code.MALFORMED, ""),
        (None, Code.MALFORMED, ""),
    ],
)
def test_a_bad_frame_is_refused_alone(
    subprotocol: f.Subprotocol, frame: object, code: Code, about: str
) -> None:
    outcomes = decoded(subprotocol, {"op": "ping", "n": 1}, frame, {"op": "ping", "n": 2})
    assert outcomes == [f.Ping(1), (code, about), f.Ping(2)]


def changed(**fields: object) -> dict[str, object]:
    """A sound `send` as a map, but for these fields."""
    frame: dict[str, object] = msgspec.msgpack.decode(msgspec.msgpack.encode(w.send()))
    return frame | fields


@pytest.mark.parametrize(
    "fields",
    [
        {"sn": 0},
        {"sn": 2**53},
        {"id": bytes(15)},
        {"id": bytes(17)},
        {"id": "message of alice"},
        {"at": -1},
        {"wraps": [{"device": bytes(16)}]},
        {"wraps": [{"device": bytes(3), "wrap": w.WRAP}]},
        {"wraps": [{"device": bytes(16), "wrap": bytes(limits.WRAP_MAX + 1)}]},
        {"rosters": [{"account": "bruno", "version": 1}]},
        {"rosters": [{"account": "b" * 281, "version": 1}]},
        {"kind": "advert"},
        {"urgency": "now"},
        {"ttl": limits.TTL_MIN - 1},
        {"ttl": limits.TTL_MAX + 1},
        {"partial": 1},
    ],
)
def test_fields_are_checked_where_they_are_read(fields: dict[str, object]) -> None:
    assert decoded(f.MSGPACK, changed(**fields)) == [(Code.MALFORMED, "send")]
    assert decoded(f.MSGPACK, changed()) == [w.send()]


@pytest.mark.parametrize(
    ("subprotocol", "message"),
    [
        (f.MSGPACK, b"\x91\x82\xa2op\xa4ping\xa1n\xa1\xff"),
        (f.MSGPACK, b"\x91\x81\xa2op\xa2\xff\xfe"),
        (f.MSGPACK, b"\x91\x81\xa2\xff\xfe\x01"),
        (f.JSON, b'[{"op":"nack","position":1,"reason":"\xff"}]'),
        (f.JSON, b'[{"op":"\xff"}]'),
        (f.JSON, b'[{"\xff":1}]'),
    ],
)
def test_bad_utf8_is_malformed(subprotocol: f.Subprotocol, message: bytes) -> None:
    ((code, _),) = read(server_codec(subprotocol), message)
    assert code is Code.MALFORMED


def test_bytes_that_are_not_base64_are_malformed() -> None:
    frame = {**json.loads(server_codec(f.JSON).encode([w.hello()]))[0], "device": "*" * 24}
    assert decoded(f.JSON, frame) == [(Code.MALFORMED, "hello")]


@both
def test_only_a_send_may_be_larger_than_a_frame(subprotocol: f.Subprotocol) -> None:
    filler = "x" * limits.FRAME_MAX
    send = json.loads(server_codec(f.JSON).encode([w.send()]))[0]
    if subprotocol == f.MSGPACK:
        send = changed()
    assert decoded(
        subprotocol,
        {"op": "ping", "n": 1, "later": filler},
        {**send, "later": filler},
        {**send, "later": "x" * limits.SEND_FRAME_MAX},
    ) == [(Code.TOO_LARGE, "ping"), w.send(), (Code.TOO_LARGE, "")]


@both
def test_the_limits_themselves_are_within_the_limits(subprotocol: f.Subprotocol) -> None:
    def filled(frame: dict[str, Any], size: int) -> bytes:
        for room in range(size, 0, -1):
            message = packed(subprotocol, [{**frame, "x": "x" * (room - len(rest(frame)))}])
            if len(message) - head == size:
                return message
        raise AssertionError(size)

    def rest(frame: dict[str, Any]) -> bytes:
        return packed(subprotocol, frame)

    codec = server_codec(subprotocol)
    head = 2 if subprotocol == f.JSON else 1  # the array around one frame
    ping: dict[str, Any] = {"op": "ping", "n": 1}
    send = json.loads(server_codec(f.JSON).encode([w.send()]))[0]
    if subprotocol == f.MSGPACK:
        send = changed()
    assert read(codec, filled(ping, limits.FRAME_MAX)) == [f.Ping(1)]
    assert read(codec, filled(ping, limits.FRAME_MAX + 1)) == [(Code.TOO_LARGE, "ping")]
    assert read(codec, filled(send, limits.SEND_FRAME_MAX)) == [w.send()]
    assert read(codec, filled(send, limits.SEND_FRAME_MAX + 1)) == [(Code.TOO_LARGE, "")]
    assert len(codec.split(filled(ping, limits.MESSAGE_MAX - head))) == 1
    with pytest.raises(Malformed):
        codec.split(filled(ping, limits.MESSAGE_MAX - head + 1))


@both
def test_the_largest_ack_fits_a_frame(subprotocol: f.Subprotocol) -> None:
    most = limits.RECEIPTS_PER_ACK_MAX
    ack = f.Ack(2**53 - 1, 2**53 - 1, (w.receipt(),) * most, 2**53 - 1)
    codec = server_codec(subprotocol)
    assert read(codec, codec.encode([ack])) == [ack]


@both
def test_the_largest_row_gap_and_status_fit_a_frame(subprotocol: f.Subprotocol) -> None:
    codec = client_codec(subprotocol)
    row = msgspec.structs.replace(
        w.deliver(), body=bytes(limits.BODY_MAX), wrap=bytes(limits.WRAP_MAX)
    )
    gap = f.Gap(1, 512, "expired", 512, (bytes(32),) * 512)
    state = f.DeviceState(bytes(16), "undecryptable", 2**53 - 1, bytes(64))
    status = f.Status(1, w.MESSAGE, 1, (state,) * limits.RECIPIENT_DEVICES_MAX)
    assert read(codec, codec.encode([row, gap, status])) == [row, gap, status]


def test_a_first_message_to_the_most_devices_fits_a_send() -> None:
    wraps = tuple(
        f.DeviceWrap(bytes([n]) * 16, w.FIRST_WRAP) for n in range(limits.RECIPIENT_DEVICES_MAX)
    )
    send = msgspec.structs.replace(w.send(), body=bytes(limits.BODY_MAX), wraps=wraps)
    codec = server_codec(f.MSGPACK)
    assert read(codec, codec.encode([send])) == [send]


# --- refusals of the whole message ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("subprotocol", "message"),
    [
        (f.MSGPACK, b""),
        (f.MSGPACK, b"\xc1"),
        (f.MSGPACK, b"\x80"),
        (f.MSGPACK, b"\x90\x90"),
        (f.MSGPACK, b"\x92\x80"),
        (f.MSGPACK, b"\xdd\xff\xff\xff\xff"),
        (f.MSGPACK, b"\x91\xc6\xff\xff\xff\xff"),
        (f.MSGPACK, b"\x91" * 5_000),
        (f.MSGPACK, b'[{"op":"ping","n":1}]'),
        (f.JSON, b""),
        (f.JSON, b"{}"),
        (f.JSON, b"null"),
        (f.JSON, b'[{"op":"ping","n":1}'),
        (f.JSON, b'[{"op":"ping","n":1}]]'),
        (f.JSON, b"[NaN]"),
        (f.JSON, b"[" * 5_000),
        (f.JSON, b"\x91\x80"),
    ],
)
def test_what_is_no_array_of_frames_is_refused_whole(
    subprotocol: f.Subprotocol, message: bytes
) -> None:
    with pytest.raises(Malformed):
        server_codec(subprotocol).split(message)


@both
def test_a_message_has_a_largest_size_and_number(subprotocol: f.Subprotocol) -> None:
    codec = server_codec(subprotocol)
    ping = codec.encode([f.Ping(1)])
    most = codec.encode([f.Ping(1)] * limits.FRAMES_PER_MESSAGE_MAX)
    assert len(codec.split(ping)) == 1
    assert len(codec.split(most)) == limits.FRAMES_PER_MESSAGE_MAX
    with pytest.raises(Malformed):
        codec.split(codec.encode([f.Ping(1)] * (limits.FRAMES_PER_MESSAGE_MAX + 1)))
    # White space and padding would pass: the size is looked at before anything is read.
    with pytest.raises(Malformed):
        codec.split(packed(subprotocol, ["x" * limits.MESSAGE_MAX]))


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    for depth in (100, 500, 900, 1_000, 5_000, 100_000):
        for subprotocol, message in (
            (f.MSGPACK, b"\x91\x82\xa2op\xa4ping\xa1x" + b"\x91" * depth + b"\xc0"),
            (f.JSON, b'[{"op":"ping","x":' + b"[" * depth + b"]" * depth + b"}]"),
        ):
            codec = server_codec(subprotocol)
            try:
                outcomes = read(codec, message)
            except Malformed:
                continue
            assert outcomes == [(Code.MALFORMED, "ping")]
