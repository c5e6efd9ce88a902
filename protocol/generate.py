"""Write what follows from the protocol's types: schemas, OpenAPI, AsyncAPI, the tables of codes.

    python protocol/generate.py           writes
    python protocol/generate.py --check   compares, and names what differs

Generated: `schema/*.json` (JSON Schema 2020-12), `openapi.json` (3.1), `asyncapi.json` (3.0),
`spec/06-codes.md`. They describe the JSON form; in MessagePack the same fields stand in the same
maps, with `bin` where these say base64.
"""

import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from miss_protocol import api, directory, limits
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode, Code, Retry
from miss_protocol.http_signature import ALGORITHM, COVERED, LABEL, TAG

HERE = Path(__file__).parent
VERSION = "1.0.0"
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


def members(union: object) -> tuple[type[f.Frame], ...]:
    """The frames of one direction."""
    found: tuple[type[f.Frame], ...] = union.__args__  # type: ignore[attr-defined]  # unions have it at run time
    return found


CLIENT_FRAMES, SERVER_FRAMES = members(f.ClientFrame), members(f.ServerFrame)


# --- JSON Schema ----------------------------------------------------------------------------------


def described(value: Any) -> Any:
    """The same, with descriptions as people wrote them and not as Python indented them."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(inner)
            if key == "description" and isinstance(inner, str)
            else described(inner)
            for key, inner in value.items()
        }
    return [described(inner) for inner in value] if isinstance(value, list | tuple) else value


def schemas(types: Sequence[Any], template: str) -> tuple[list[Json], Json]:
    """Schemas of `types`, and those that they refer to, by name."""
    heads, parts = msgspec.json.schema_components(types, ref_template=template)
    return described(list(heads)), described(dict(sorted(parts.items())))


def message_schema(union: object, title: str, description: str) -> Json:
    """A WebSocket message of one direction: an array of frames."""
    (items,), parts = schemas([union], "#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "title": title,
        "description": description,
        "type": "array",
        "maxItems": limits.FRAMES_PER_MESSAGE_MAX,
        "items": items,
        "$defs": parts,
    }


def http_schema() -> Json:
    """Every body of the HTTP calls."""
    _, parts = schemas(_bodies(), "#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "title": "Bodies of the HTTP calls",
        "description": "Requests, replies and problems, each under its name.",
        "$defs": parts,
    }


# --- OpenAPI --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One HTTP call. `reply` is a type, or a union of types; `codes` what it may be refused with
    beside what every call may be."""

    method: str
    path: str
    summary: str
    reply: Any
    body: Any = None
    codes: tuple[Code, ...] = ()
    status: int = 200
    signed: bool = True
    query: tuple[tuple[str, Json, str], ...] = field(default=())


_WORD: Json = {"type": "string"}
_CODES = (Code.CODE_UNKNOWN, Code.CODE_USED, Code.CODE_EXPIRED, Code.RATE_LIMITED)
_INVITED = (Code.CODE_UNKNOWN, Code.CODE_EXPIRED, Code.RATE_LIMITED)

OPERATIONS = (
    Operation(
        "get",
        "/v1/server",
        "Whose server this is and what it asks for",
        api.ServerInfo,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/enrolment/preview",
        "Whom an enrolment code would enrol",
        api.EnrolmentPreview,
        api.CodeGiven,
        _CODES,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/enrolment",
        "Enrol an account's first device",
        api.Enrolled,
        api.Enrol,
        (*_CODES, Code.ALREADY_ENROLLED, Code.UNTRUSTED, Code.CHARTER_REQUIRED),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links/preview",
        "Which account an invitation joins",
        api.EnrolmentPreview,
        api.CodeGiven,
        _INVITED,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links",
        "A new device asks to be approved",
        api.LinkStatus,
        api.LinkRequest,
        (*_INVITED, Code.CODE_USED, Code.UNTRUSTED),
        status=202,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links/status",
        "Whether the new device is approved",
        api.LinkStatus,
        api.LinkRequest,
        (*_INVITED, Code.UNTRUSTED),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links/invitations",
        "Invite a new device to this account",
        api.LinkInvitation,
        status=201,
    ),
    Operation("get", "/v1/links", "Devices that wait for approval", api.PendingLinks),
    Operation(
        "post",
        "/v1/rosters",
        "Add or revoke devices: the next version of the roster",
        api.RosterAccepted,
        api.RosterProposed,
        (Code.UNTRUSTED, Code.ROSTER_CONFLICT),
    ),
    Operation(
        "get",
        "/v1/accounts/{address}/rosters",
        "An account's rosters after a version",
        api.Rosters,
        codes=(Code.UNKNOWN_ACCOUNT,),
        query=(
            ("after", {"type": "integer", "minimum": 0, "default": 0}, "the version known already"),
        ),
    ),
    Operation(
        "post",
        "/v1/charter",
        "Accept a new version of the charter",
        api.CharterAccepted,
        api.CharterSigned,
        (Code.CHARTER_REQUIRED, Code.UNTRUSTED),
    ),
    Operation(
        "post",
        "/v1/prekeys",
        "Leave prekeys on the server",
        api.PrekeyCount,
        api.PrekeysUploaded,
        (Code.PREKEYS_STALE, Code.UNTRUSTED),
    ),
    Operation("get", "/v1/prekeys", "How many prekeys are left", api.PrekeyCount),
    Operation(
        "post",
        "/v1/prekeys/claim",
        "Take one prekey for each device",
        api.Prekeys,
        api.PrekeysClaimed,
        (Code.RATE_LIMITED,),
    ),
    Operation(
        "get",
        "/v1/directory",
        "Search the directory",
        directory.SearchPage,
        codes=(Code.RATE_LIMITED,),
        query=(
            ("q", _WORD, "words, each of which begins a word of the entry"),
            (
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": limits.PAGE_MAX,
                    "default": limits.PAGE_DEFAULT,
                },
                "entries of one page",
            ),
            ("cursor", _WORD, "`next` of the page before"),
        ),
    ),
    Operation(
        "get",
        "/v1/directory/{person}",
        "One entry of the directory",
        directory.Entry,
        codes=(Code.NOT_FOUND,),
    ),
    Operation(
        "post",
        "/v1/messages",
        "Send a message: the twin of the frame",
        f.Sent | f.Refused | f.RetrySend,
        f.Send,
    ),
    Operation(
        "post",
        "/v1/mailbox",
        "Acknowledge, then fetch what waits",
        api.MailboxPage,
        api.MailboxCall,
        (Code.SN_REUSED, Code.ACK_BEYOND, Code.NACK_UNKNOWN, Code.UNTRUSTED),
    ),
)

_ALWAYS = (Code.MALFORMED, Code.TOO_LARGE, Code.NOT_DURABLE, Code.INTERNAL)
_SIGNED = (
    Code.AUTH_FAILED,
    Code.CLOCK_SKEW,
    Code.REPLAYED,
    Code.REVOKED,
    Code.SUSPENDED,
)


def _bodies() -> list[Any]:
    types = [t for one in OPERATIONS for t in (one.body, one.reply) if t is not None]
    return [*types, api.Problem]


def openapi() -> Json:
    """The HTTP calls."""
    types = _bodies()
    heads, parts = schemas(types, "#/components/schemas/{name}")
    by_type = {id(kind): head for kind, head in zip(types, heads, strict=True)}
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method] = _operation(one, by_type)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": "MiSS: HTTP calls",
            "version": VERSION,
            "summary": "Enrolment, devices, keys, directory, and the twins of the WebSocket",
            "description": "Generated. The prose is in spec/02-wire.md §5.",
            "license": LICENSE,
        },
        "servers": [
            {
                "url": "https://{domain}",
                "variables": {"domain": {"default": "messagerie.example"}},
            }
        ],
        "security": [{"device": []}],
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {
                "device": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "HTTP Message Signatures (RFC 9421) with the device key: "
                    f"algorithm {ALGORITHM}, label {LABEL}, tag {TAG}, parameters created, nonce "
                    f"and keyid (the device id in hexadecimal), covering {', '.join(COVERED)}.",
                }
            },
        },
    }


def _operation(one: Operation, by_type: dict[int, Json]) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": _WORD}
        for name in ("address", "person")
        if f"{{{name}}}" in one.path
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema, "description": text}
        for name, schema, text in one.query
    ]
    operation: Json = {
        "operationId": one.method
        + "".join(
            part.strip("{}").capitalize() for part in one.path.removeprefix("/v1").split("/")
        ),
        "summary": one.summary,
    }
    if parameters:
        operation["parameters"] = parameters
    if one.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[id(one.body)]}},
        }
    operation["responses"] = {
        str(one.status): {
            "description": "Done",
            "content": {"application/json": {"schema": by_type[id(one.reply)]}},
        },
        **_problems(one, by_type[id(api.Problem)]),
    }
    if not one.signed:
        operation["security"] = []
    return operation


def _problems(one: Operation, schema: Json) -> Json:
    codes = {*one.codes, *_ALWAYS, *(_SIGNED if one.signed else ())}
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes, key=lambda code: code.wire):
        by_status.setdefault(code.status, []).append(f"`{code.wire}`")
    return {
        str(status): {
            "description": ", ".join(wires),
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status, wires in sorted(by_status.items())
    }


# --- AsyncAPI -------------------------------------------------------------------------------------


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


# --- codes ----------------------------------------------------------------------------------------

_RETRY_TEXTS = {
    Retry.NEVER: "Repeating it changes nothing. Show it, or mend the program.",
    Retry.SAME: "Repeat the very same bytes after `retry_after`; for a send, under the same `sn`.",
    Retry.REFRESH: "Fetch what changed (rosters, prekeys, charter), encrypt anew, use a new `sn`.",
    Retry.RECONNECT: "Connect again with jittered back-off.",
    Retry.ENROL: "This device's identity is over: it is enrolled anew.",
}
_CLOSE_TEXTS = {
    CloseCode.ACK_TIMEOUT: "Nothing was acknowledged and no pong came; the link is taken for dead.",
    CloseCode.RATE: "The client wrote on and on and read nothing.",
    CloseCode.DRAINING: "The server stops in order; the `bye` before it tells when to come back.",
    CloseCode.TRY_LATER: "No hello came in time, or the server cannot serve for now.",
    CloseCode.AUTH: "The device could not prove itself, or its account is suspended.",
    CloseCode.REVOKED: "The device was removed from its account.",
    CloseCode.REPLACED: "The same device connected again; the newer connection goes on.",
    CloseCode.ROLLED_BACK: "The device remembers less than it did: an old copy of its state runs.",
    CloseCode.PROTOCOL: "Not this protocol, not this version, or no longer this application.",
}


def codes_page() -> str:
    """`spec/06-codes.md`."""
    lines = [
        "# 6. Codes",
        "",
        "<!-- Generated by protocol/generate.py from miss_protocol/errors.py: edit there. -->",
        "",
        "A code appears in `error`, `refused` and `retry` frames, in a `sent` frame for single",
        "devices, and as `code` of an HTTP problem, whose status is given here. A receiver MUST act",
        "by the *next* column and SHOULD show the text in its user's language. It MUST treat a code",
        "that it does not know as `never`. New codes MAY be added within v1.",
        "",
        "## 1. What comes next",
        "",
        "| next | meaning |",
        "|---|---|",
        *(f"| `{retry.value}` | {_RETRY_TEXTS[retry]} |" for retry in Retry),
        "",
        "## 2. Codes",
        "",
        "| code | status | next | English | français |",
        "|---|---|---|---|---|",
        *(
            f"| `{c.wire}` | {c.status} | `{c.retry.value}` | {c.text('en')} | {c.text('fr')} |"
            for c in Code
        ),
        "",
        "## 3. Close codes",
        "",
        "4000-4499: the client MUST connect again by itself, with jittered back-off. 4500-4999: it",
        "MUST NOT, and MUST tell the user. Any other close, or none, is treated as a lost network:",
        "connect again.",
        "",
        "| close code | name | again | when |",
        "|---|---|---|---|",
        *(
            f"| {int(c)} | `{c.name.lower()}` | {'yes' if c.reconnect else 'no'} | {_CLOSE_TEXTS[c]} |"
            for c in CloseCode
        ),
        "",
    ]
    return "\n".join(lines)


# --- files ----------------------------------------------------------------------------------------


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    documents = {
        "schema/client-frames.json": message_schema(
            f.ClientFrame, "What a client writes", "One WebSocket message from a client, in JSON."
        ),
        "schema/server-frames.json": message_schema(
            f.ServerFrame, "What a server writes", "One WebSocket message from a server, in JSON."
        ),
        "schema/http.json": http_schema(),
        "openapi.json": openapi(),
        "asyncapi.json": asyncapi(),
    }
    files = {
        HERE / name: json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }
    return {**files, HERE / "spec" / "06-codes.md": codes_page()}


def differing() -> Iterator[Path]:
    """The generated files that do not stand as they should."""
    for path, text in generated().items():
        if not path.is_file() or path.read_text("utf-8") != text:
            yield path


def main(arguments: Sequence[str]) -> int:
    """Write, or compare with `--check`; returns the exit status."""
    if list(arguments) == ["--check"]:
        wrong = [str(path.relative_to(HERE.parent)) for path in differing()]
        if wrong:
            print("not as generated (run `make schema`):", *wrong, file=sys.stderr)  # noqa: T201  # a command
        return 1 if wrong else 0
    if arguments:
        print("usage: python protocol/generate.py [--check]", file=sys.stderr)  # noqa: T201  # a command
        return 2
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
