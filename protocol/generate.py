"""Write what follows from the protocol's types: schemas, OpenAPI, AsyncAPI, the tables of codes.

    python protocol/generate.py           writes
    python protocol/generate.py --check   compares, and names what differs

Generated: `schema/*.json` (JSON Schema 2020-12), `openapi.json` (3.1), `asyncapi.json` (3.0),
`spec/06-codes.md`. They describe the JSON form; in MessagePack the same fields stand in the same
maps, with `bin` where these say base64.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from generating.asyncapi import asyncapi
from generating.calls import http_schema
from generating.codes import codes_page
from generating.openapi import openapi
from generating.schemas import message_schema
from miss_protocol import frames as f

HERE = Path(__file__).parent


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
