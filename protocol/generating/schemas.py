"""JSON Schema (2020-12) of the protocol's types, as their JSON form is."""

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from miss_protocol import limits

VERSION = "1.0.0"
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


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
