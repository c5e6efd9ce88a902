"""From frames to WebSocket messages and back, in MessagePack or JSON.

Both directions have a decoder of their own, so that a client cannot be fed a client's frame. A
message is decoded in two steps: the array, then each frame alone, so that one bad frame is refused
alone with a code while its neighbours count (spec 02-wire §1).
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, RemoteError
from miss_protocol.frames import JSON, MSGPACK, ClientFrame, Frame, Send, ServerFrame, Subprotocol

F = TypeVar("F")

_OPS = {
    frame.__struct_config__.tag for union in (ClientFrame, ServerFrame) for frame in union.__args__
}


class FrameError(RemoteError):
    """One frame that is refused alone; `about` is its `op`, as far as it could be read."""

    def __init__(self, code: Code, detail: str, about: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.about = about


class _Head(msgspec.Struct):
    op: str = ""


class Codec(Generic[F]):
    """One subprotocol in one direction. `F` is what `decode_frame` returns.

    Args:
        subprotocol: `miss.v1.msgpack` (binary messages) or `miss.v1.json` (text messages).
        receives: the union of frames that the peer may send.
    """

    def __init__(self, subprotocol: Subprotocol, receives: type[F]) -> None:
        self.subprotocol = subprotocol
        self.text = subprotocol == JSON
        self._array: Callable[[bytes], list[msgspec.Raw]]
        self._frame: Callable[[msgspec.Raw], F]
        self._head: Callable[[msgspec.Raw], _Head]
        if self.text:
            self._encode = msgspec.json.Encoder().encode
            self._array = msgspec.json.Decoder(list[msgspec.Raw]).decode
            self._frame = msgspec.json.Decoder(receives).decode
            self._head = msgspec.json.Decoder(_Head).decode
        else:
            self._encode = msgspec.msgpack.Encoder().encode
            self._array = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
            self._frame = msgspec.msgpack.Decoder(receives).decode
            self._head = msgspec.msgpack.Decoder(_Head).decode

    def encode(self, frames: list[Frame]) -> bytes:
        """Write frames as one WebSocket message; the caller keeps it under `limits.MESSAGE_MAX`."""
        return self._encode(frames)

    def split(self, message: bytes) -> list[msgspec.Raw]:
        """Cut a WebSocket message into its still encoded frames.

        Raises:
            Malformed: not an array, too large, or too many frames: the connection ends.
        """
        if len(message) > limits.MESSAGE_MAX:
            raise Malformed("message too large")
        try:
            raws = self._array(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise Malformed(f"not an array of frames: {type(error).__name__}") from None
        if len(raws) > limits.FRAMES_PER_MESSAGE_MAX:
            raise Malformed("too many frames in one message")
        return raws

    def decode_frame(self, raw: msgspec.Raw) -> F:
        """Read one frame.

        Raises:
            FrameError: `malformed`, `unsupported` or `too_large`; the connection goes on.
        """
        size = len(memoryview(raw))
        if size > limits.SEND_FRAME_MAX:
            raise FrameError(Code.TOO_LARGE, "frame too large")
        try:
            frame = self._frame(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            about = self._op_of(raw)
            if about and about not in _OPS:
                raise FrameError(Code.UNSUPPORTED, "unknown op", about[:64]) from None
            raise FrameError(Code.MALFORMED, type(error).__name__, about[:64]) from None
        if size > limits.FRAME_MAX and not isinstance(frame, Send):
            raise FrameError(Code.TOO_LARGE, "frame too large", self._op_of(raw))
        return frame

    def _op_of(self, raw: msgspec.Raw) -> str:
        try:
            return self._head(raw).op
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return ""


def server_codec(subprotocol: Subprotocol) -> Codec[ClientFrame]:
    """The codec of a server's end: it reads what clients send."""
    return Codec(subprotocol, ClientFrame)  # type: ignore[arg-type]  # a union is a type form


def client_codec(subprotocol: Subprotocol = MSGPACK) -> Codec[ServerFrame]:
    """The codec of a client's end: it reads what servers send."""
    return Codec(subprotocol, ServerFrame)  # type: ignore[arg-type]  # a union is a type form
