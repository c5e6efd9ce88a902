"""`openapi.json`: the HTTP calls in OpenAPI 3.1."""

from generating.calls import ALWAYS, OPERATIONS, SIGNED, WORD, Operation, bodies
from generating.schemas import DIALECT, LICENSE, VERSION, Json, schemas
from miss_protocol import api
from miss_protocol.http_signature import ALGORITHM, COVERED, LABEL, TAG


def openapi() -> Json:
    """The HTTP calls."""
    types = bodies()
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
        {"name": name, "in": "path", "required": True, "schema": WORD}
        for name in ("address", "person", "organisation")
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
    codes = {*one.codes, *ALWAYS, *(SIGNED if one.signed else ())}
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
