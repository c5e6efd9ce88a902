"""Reads requests' bodies into the protocol's types and writes replies."""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, Refused

T = TypeVar("T")

BODY_PATIENCE = 10.0
"""Seconds for a body, beyond what its bytes need on the slowest link: a socket that dribbles must
not be held open for ever by somebody who never proved a key."""


class TooSlow(Malformed):
    """A body that does not come to its end; its connection is closed with the answer."""


async def read_bytes(request: Request) -> bytes:
    """The request's body, at most `limits.HTTP_BODY_MAX` bytes of it.

    Raises:
        Refused: `too_large`.
        TooSlow: slower than `limits.SLOWEST_LINK`.
    """
    chunks: list[bytes] = []
    size = 0
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(BODY_PATIENCE) as patience:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.HTTP_BODY_MAX:
                    raise Refused(Code.TOO_LARGE, "HTTP body")
                chunks.append(chunk)
                patience.reschedule(begun + BODY_PATIENCE + size / limits.SLOWEST_LINK)
    except TimeoutError:
        raise TooSlow("a body that does not end") from None
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
