"""Any bytes at either end: accepted, or refused with a documented error, never anything else."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import Codec, FrameError, client_codec, server_codec
from miss_protocol.digest import EMPTY
from miss_protocol.errors import CloseCode, Code, Malformed
from miss_protocol.server_session import ServerSession
from tests.support import wire_samples as w
from tests.support.fuzzing import effort

SUBPROTOCOLS: tuple[f.Subprotocol, ...] = (f.MSGPACK, f.JSON)
CODECS: list[Codec[Any]] = [
    make(subprotocol) for make in (server_codec, client_codec) for subprotocol in SUBPROTOCOLS
]
FRAME_CODES = {Code.MALFORMED, Code.UNSUPPORTED, Code.TOO_LARGE}

codecs = pytest.mark.parametrize(
    "codec", CODECS, ids=["server-msgpack", "server-json", "client-msgpack", "client-json"]
)


def read(codec: Codec[Any], message: bytes) -> None:
    """The property: frames that can be written again, or documented errors."""
    try:
        raws = codec.split(message)
    except Malformed:
        return
    assert len(raws) <= limits.FRAMES_PER_MESSAGE_MAX
    for raw in raws:
        try:
            frame = codec.decode_frame(raw)
        except FrameError as error:
            refused = error
        else:
            (again,) = codec.split(codec.encode([frame]))
            assert codec.decode_frame(again) == frame
            continue
        assert refused.code in FRAME_CODES
        assert len(refused.about) <= 64


def told(message: bytes) -> None:
    """The same property of a whole end: a fresh server answers or closes, a client refuses."""
    for subprotocol in SUBPROTOCOLS:
        server = ServerSession(server_codec(subprotocol), now=0.0)
        server.receive(message, 1.0)
        assert server.close_code in (None, CloseCode.PROTOCOL, CloseCode.RATE)
        for data in server.data_to_send():
            assert len(data) <= limits.MESSAGE_MAX
        client = ClientSession(client_codec(subprotocol), position=0, digest=EMPTY)
        try:
            client.receive(message)
        except Malformed:
            continue


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
OPS = sorted({str(sample.frame.__struct_config__.tag) for sample in w.SAMPLES})
FIELDS = sorted({field.name for s in w.SAMPLES for field in msgspec.structs.fields(s.frame)})
maps = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), values, max_size=8)
frames_like = st.builds(
    lambda op, fields: {"op": op, **fields}, st.sampled_from(OPS) | st.text(max_size=12), maps
)


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A sound frame in which some fields are something else or missing."""
    sample = draw(st.sampled_from(w.SAMPLES))
    frame: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(sample.frame))
    for name in draw(st.lists(st.sampled_from(sorted(frame)), max_size=2)):
        frame[name] = draw(values)
    for name in draw(st.lists(st.sampled_from(sorted(frame)), max_size=1)):
        del frame[name]
    return frame


def as_json(value: object) -> bytes:
    return json.dumps(value, default=lambda data: data.decode("latin-1")).encode()


@effort(150)
@given(message=st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    for codec in CODECS:
        read(codec, message)
    told(message)


@effort(150)
@given(parts=st.lists(frames_like | spoiled() | values, max_size=5))
def test_any_values_in_the_place_of_frames(parts: list[Any]) -> None:
    for message in (msgspec.msgpack.encode(parts), as_json(parts)):
        for codec in CODECS:
            read(codec, message)
        told(message)


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """A sound message with some bytes changed, put in, or taken out."""
    codec = draw(st.sampled_from(CODECS))
    chosen = draw(st.lists(st.sampled_from(w.SAMPLES), min_size=1, max_size=3))
    message = bytearray(codec.encode([sample.frame for sample in chosen]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(message) - 1))
        how = draw(st.sampled_from(["change", "insert", "delete"]))
        if how == "change":
            message[at] = draw(st.integers(0, 255))
        elif how == "insert":
            message.insert(at, draw(st.integers(0, 255)))
        elif len(message) > 1:
            del message[at]
    return bytes(message)


@effort(300)
@given(message=flipped())
def test_sound_messages_with_changed_bytes(message: bytes) -> None:
    for codec in CODECS:
        read(codec, message)
    told(message)


@codecs
@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_frames_cut_at_every_byte(codec: Codec[Any], sample: w.Sample) -> None:
    message = codec.encode([sample.frame])
    # Bodies and wraps are long and all alike inside: their edges and every 16th byte are enough.
    cuts = [n for n in range(len(message)) if n < 200 or n % 16 == 0 or n > len(message) - 80]
    for cut in cuts:
        with pytest.raises(Malformed):
            codec.split(message[:cut])


@codecs
@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_frames_followed_by_another_byte(codec: Codec[Any], sample: w.Sample) -> None:
    message = codec.encode([sample.frame])
    for byte in range(256):
        extended = message + bytes([byte])
        if codec.text and byte in b" \t\r\n":
            assert len(codec.split(extended)) == 1
        else:
            with pytest.raises(Malformed):
                codec.split(extended)


@effort(20)
@given(message=flipped(), parts=st.lists(st.integers(0, 2_000), max_size=6))
def test_messages_cut_anywhere_never_confuse_what_follows(message: bytes, parts: list[int]) -> None:
    """A transport that delivers pieces as messages: each piece stands or falls alone."""
    server = ServerSession(server_codec(f.MSGPACK), now=0.0)
    edges = [0, *sorted(part % (len(message) + 1) for part in parts), len(message)]
    for start, end in pairwise(edges):
        server.receive(message[start:end], 1.0)
    assert server.close_code in (None, CloseCode.PROTOCOL)
