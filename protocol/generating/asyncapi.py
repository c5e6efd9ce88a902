"""`asyncapi.json`: the WebSocket in AsyncAPI 3.0."""

import inspect
from collections.abc import Sequence

from generating.schemas import VERSION, Json, schemas
from miss_protocol import frames as f


def members(union: object) -> tuple[type[f.Frame], ...]:
    """The frames of one direction."""
    found: tuple[type[f.Frame], ...] = union.__args__  # type: ignore[attr-defined]  # unions have it at run time
    return found


CLIENT_FRAMES, SERVER_FRAMES = members(f.ClientFrame), members(f.ServerFrame)


def asyncapi() -> Json:
    """The WebSocket."""
    frames = list(dict.fromkeys((*CLIENT_FRAMES, *SERVER_FRAMES)))
    _, parts = schemas(frames, "#/components/schemas/{name}")
    messages = {
        op_of(frame): {
            "name": op_of(frame),
            "title": op_of(frame),
            "summary": (inspect.getdoc(frame) or "").split("\n")[0],
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
        }
        for frame in frames
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "MiSS: the WebSocket",
            "version": VERSION,
            "description": "Generated. Each WebSocket message is an array of the frames below, in "
            f"JSON (subprotocol `{f.JSON}`, text) or MessagePack (subprotocol `{f.MSGPACK}`, "
            "binary). The prose is in spec/02-wire.md and spec/03-session.md.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": {
            "operator": {
                "host": "{domain}",
                "protocol": "wss",
                "variables": {"domain": {"default": "messagerie.example"}},
            }
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/v1/ws",
                "messages": {op: {"$ref": f"#/components/messages/{op}"} for op in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "fromClient": _direction("receive", "What a client writes", CLIENT_FRAMES),
            "fromServer": _direction("send", "What a server writes", SERVER_FRAMES),
        },
        "components": {"messages": messages, "schemas": parts},
    }


def op_of(frame: type[f.Frame]) -> str:
    """A frame's `op`."""
    return str(frame.__struct_config__.tag)


def _direction(action: str, summary: str, frames: Sequence[type[f.Frame]]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/socket"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/socket/messages/{op_of(frame)}"} for frame in frames],
    }
