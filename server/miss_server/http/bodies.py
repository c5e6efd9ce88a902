"""Reads requests' bodies into the protocol's types and writes replies."""

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, Refused

T = TypeVar("T")


async def read_bytes(request: Request) -> bytes:
    """The request's body, at most `limits.HTTP_BODY_MAX` bytes of it.

    Raises:
        Refused: `too_large`.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.HTTP_BODY_MAX:
            raise Refused(Code.TOO_LARGE, "HTTP body")
        chunks.append(chunk)
    return b"".join(chunks)


def parse(body: bytes, kind: type[T]) -> T:
    """Read a JSON body.

    Raises:
        Malformed: not JSON, or not of this type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Malformed(type(error).__name__) from None


def reply(value: object, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
