"""How the vectors write messages and values: JSON as it is, bytes in hexadecimal."""

from typing import Any

import msgspec

from miss_protocol import frames as f

SUBPROTOCOLS: tuple[f.Subprotocol, ...] = (f.MSGPACK, f.JSON)

Json = dict[str, Any]


def plain(value: Any) -> Any:
    """Any value of ours in JSON, with bytes in hexadecimal."""
    return _hexed(msgspec.to_builtins(value, builtin_types=(bytes,)))


def _hexed(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _hexed(inner) for key, inner in value.items()}
    return [_hexed(inner) for inner in value] if isinstance(value, list | tuple) else value


def text_of(message: bytes, subprotocol: f.Subprotocol) -> str:
    """A WebSocket message as the vectors write it: JSON as it is, MessagePack in hexadecimal."""
    return message.decode() if subprotocol == f.JSON else message.hex()


def bytes_of(text: str, subprotocol: f.Subprotocol) -> bytes:
    """What `text_of` wrote."""
    return text.encode() if subprotocol == f.JSON else bytes.fromhex(text)
