"""What is generated from the types stands as generated, holds by its own rules, and is true."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from starlette.routing import Route

from miss_protocol import api, limits, organisations
from miss_protocol import frames as f
from miss_protocol.codec import server_codec
from miss_protocol.errors import Code
from miss_protocol.states import ANYWHERE, SERVER_RECEIVES, SERVER_SENDS
from miss_server.http.routes import routes
from tests.support import wire_samples as w

PROTOCOL = Path(__file__).parents[2] / "protocol"
OPENAPI_SCHEMA = Path(__file__).parents[1] / "vectors" / "openapi" / "3.1-schema.json"


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("generate", PROTOCOL / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _script()
DOCUMENTS = ["openapi", "asyncapi", "schema/client-frames", "schema/server-frames", "schema/http"]


def load(name: str) -> Any:
    return json.loads((PROTOCOL / f"{name}.json").read_text("utf-8"))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


# --- as generated ---------------------------------------------------------------------------------


def test_every_generated_file_is_as_the_types_say() -> None:
    assert [path.name for path in generate.differing()] == []
    assert generate.main(["--check"]) == 0


def test_a_difference_is_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path / "protocol")
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "protocol" / "openapi.json").write_text("{}")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    assert "protocol/openapi.json" in capsys.readouterr().err


def test_an_unknown_argument_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path / "protocol")
    assert generate.main(["--chek"]) == 2
    assert list(tmp_path.iterdir()) == []


# --- the documents' own structure -----------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reference_leads_somewhere(name: str) -> None:
    document = load(name)
    found = set(references(document))
    assert found
    for reference in found:
        assert reference.startswith("#/")
        target = document
        for part in reference[2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith("schema/")])
def test_schemas_are_json_schemas(name: str) -> None:
    Draft202012Validator.check_schema(load(name))


def test_the_openapi_document_is_one() -> None:
    Draft202012Validator(json.loads(OPENAPI_SCHEMA.read_text("utf-8"))).validate(load("openapi"))
    for schema in load("openapi")["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [
        one["operationId"] for path in load("openapi")["paths"].values() for one in path.values()
    ]
    assert len(set(ids)) == len(ids)


def test_the_asyncapi_document_is_one() -> None:
    document = load("asyncapi")
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    (channel,) = document["channels"].values()
    messages = document["components"]["messages"]
    assert {m["$ref"].split("/")[-1] for m in channel["messages"].values()} == set(messages)
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert set(operation) == {"action", "channel", "summary", "messages"}
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)  # what AsyncAPI 3.0 builds on


# --- what they say is so --------------------------------------------------------------------------


def test_the_openapi_document_has_the_servers_paths() -> None:
    served = {
        (method.lower(), route.path_format)
        for route in routes()
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    written = {(method, path) for path, one in load("openapi")["paths"].items() for method in one}
    monitors = {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics")}
    browsers = {("get", "/v1/identity/callback")}
    assert served - written == monitors | browsers  # theirs, not clients'
    assert written <= served


def test_the_asyncapi_document_has_the_frames_of_the_state_machines() -> None:
    for name, table, union in (
        ("fromClient", SERVER_RECEIVES, f.ClientFrame),
        ("fromServer", SERVER_SENDS, f.ServerFrame),
    ):
        placed = {frame for line in table.values() for frame in line}
        frames = placed | (ANYWHERE & set(union.__args__))
        written = load("asyncapi")["operations"][name]["messages"]
        assert {m["$ref"].split("/")[-1] for m in written} == {
            str(frame.__struct_config__.tag) for frame in frames
        }


@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_a_real_frame_is_an_instance_of_its_schema(sample: w.Sample) -> None:
    message = json.loads(server_codec(f.JSON).encode([sample.frame]))
    Draft202012Validator(load(f"schema/{sample.sender}-frames")).validate(message)
    name = type(sample.frame).__name__
    asyncapi = load("asyncapi")
    schema = {**asyncapi, "$ref": f"#/components/schemas/{name}"}
    Draft202012Validator(schema).validate(message[0])


@pytest.mark.parametrize("sample", w.SAMPLES, ids=lambda sample: sample.name)
def test_a_frame_without_one_of_its_fields_is_none(sample: w.Sample) -> None:
    (frame,) = json.loads(server_codec(f.JSON).encode([sample.frame]))
    validator = Draft202012Validator(load(f"schema/{sample.sender}-frames"))
    required = [one.name for one in msgspec.structs.fields(sample.frame) if one.required]
    for name in ["op", *required]:
        with pytest.raises(ValidationError):
            validator.validate([{k: v for k, v in frame.items() if k != name}])


@pytest.mark.parametrize(
    "message",
    [
        {},
        [{"op": "ping", "n": 2**53}],
        [{"op": "ping", "n": -1}],
        [{"op": "nack", "position": 1, "reason": "tired"}],
        [{"op": "ping", "n": 1}] * (limits.FRAMES_PER_MESSAGE_MAX + 1),
    ],
)
def test_what_the_codec_refuses_the_schema_refuses(message: Any) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(load("schema/client-frames")).validate(message)


HELD = api.MailboxCall(1, bytes(32), 0, ack=f.Ack(position=1), nacks=(f.Nack(1, "malformed"),))
PAGE = api.MailboxPage(
    w.EPOCH,
    2,
    0,
    0,
    False,
    50,
    (w.deliver(), f.Gap(2, 2, "expired", 1, (w.ROW_HASH,))),
    (f.Status(1, w.MESSAGE, 1, ()),),
)
PROBLEM = api.Problem(
    f"urn:miss:problem:{Code.BUSY.wire}",
    Code.BUSY.text("fr"),
    Code.BUSY.status,
    Code.BUSY.wire,
    {"en": Code.BUSY.text("en"), "fr": Code.BUSY.text("fr")},
    Code.BUSY.retry.value,
    2.0,
)


WANTED = organisations.CodeWanted("local.members.s-12", w.MESSAGE)
ENDED = organisations.DevicesNamed("local.members.s-12", (w.MESSAGE,))
PEOPLE = organisations.OrganisationPage(
    (
        organisations.OrganisationPerson("local.members.s-12", "Anne", "invited", None, 1),
        organisations.OrganisationPerson("local.members.s-13", "Paule", "enrolled", w.ALICE),
    ),
    "b3BhcXVl",
)


@pytest.mark.parametrize(
    "body",
    [HELD, PAGE, PROBLEM, w.send(), WANTED, ENDED, PEOPLE],
    ids=lambda b: type(b).__name__,
)
def test_a_real_body_is_an_instance_of_its_schema(body: msgspec.Struct) -> None:
    name = type(body).__name__
    for document, place in (("schema/http", "$defs"), ("openapi", "components/schemas")):
        schema = {**load(document), "$ref": f"#/{place}/{name}"}
        Draft202012Validator(schema).validate(json.loads(msgspec.json.encode(body)))


def test_every_problem_of_a_call_has_the_status_of_its_codes() -> None:
    codes = {code.wire: code.status for code in Code}
    for path in load("openapi")["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if "application/problem+json" in response["content"]:
                    for wire in response["description"].split(", "):
                        assert codes[wire.strip("`")] == int(status)
