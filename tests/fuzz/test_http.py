"""Every HTTP call of the OpenAPI document, with bodies, paths and queries that fit it and that do not.

A real server process on each engine, beside a real identity provider's; every call is signed as a device signs (now
and then not). Whatever is asked, the answer is one that the document promises: never a fault, always of its
schema, and a refusal always a problem with a code that is declared for the call. Every call succeeds, too, but those
of `REFUSED`. New calls take part by being in the document.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from miss_protocol.api import Problem
from miss_protocol.errors import code_of
from miss_server.storage.audit import SERVER
from tests.fuzz.seeds import Fields, Seeds
from tests.support import register
from tests.support.fuzzing import LONG, effort
from tests.support.postgres import PostgresProcess
from tests.support.provider import ProviderProcess
from tests.support.server import DOMAIN, ServerProcess, run_command
from tests.support.signing import Signing, sign
from tests.support.signing_in import Place
from tests.support.wire import AUTHORITIES, PATIENCE, Device, beside, enrolled, now_ms

DOCUMENT = Path(__file__).parents[2] / "protocol" / "openapi.json"


def with_bytes(value: Any) -> Any:
    """The same schema, whose texts that stand for bytes are made as such: else none would be base64."""
    if isinstance(value, list):
        return [with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {name: with_bytes(one) for name, one in value.items()}
    if inner.get("contentEncoding") == "base64":
        # Lengths are those of the text: four characters for three bytes.
        longest = inner.get("maxLength", 400)
        least, most = 0, min(longest // 4 * 3, 300)
        if longest in EXACTLY:
            least = most = EXACTLY[longest]
        inner["format"] = f"bytes-{least}-{most}"
        made = st.binary(min_size=least, max_size=most).map(lambda some: b64encode(some).decode())
        schemathesis.openapi.format(inner["format"], made)
    return inner


EXACTLY = {24: 16, 44: 32, 88: 64}
"""Bytes of ids, hashes and signatures, by the length of their texts."""
SCHEMA = schemathesis.openapi.from_dict(with_bytes(json.loads(DOCUMENT.read_text("utf-8"))))
OPERATIONS: dict[str, Any] = {
    one.ok().label: one.ok()  # type: ignore[union-attr]  # an Err would say so by its absence
    for one in SCHEMA.get_all_operations()
}
PERSON = "8" + register.rpps(1)
HOME = "local.members.ho-1"
MEMBERS = (
    "Identifiant national;Identifiant local;Nom;Nature;Rattachement\n"
    f";HO-1;EHPAD du Beffroi;organisation;\n{PERSON};;Fictif1;;{HOME}\n"
    f";S-12;Quesnimont;;\n;S-13;Vandrelle;;{HOME}\n;S-14;Lefevere;;{HOME}\n"
)
"""An organisation of which the person above is one, and people without a national number."""

SIGN_INS = 40
"""People who have not signed in yet."""
REFUSED = {"POST /v1/reports": "a message that somebody's device signed and encrypted"}
"""Calls that do not succeed here, and what they would need: `tests/server/http/test_reports.py`."""

QUIET = {"MISS_ENROLMENT_TRIES_PER_HOUR": "1000000", "MISS_TRUSTED_PROXIES": "127.0.0.1"}
"""Else a few wrong codes would end what can be asked about codes."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    one = ProviderProcess()
    asyncio.run(one.start())
    yield one
    asyncio.run(one.stop())


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def seeds(
    request: pytest.FixtureRequest,
    postgres: PostgresProcess,
    tmp_path_factory: pytest.TempPathFactory,
    provider: ProviderProcess,
) -> Iterator[Seeds]:
    """A server with people and an organisation in its directory."""
    folder = tmp_path_factory.mktemp(request.param)
    dsn = ""
    if request.param == "postgres":
        dsn = postgres.dsn(asyncio.run(postgres.new_database()))
    process = ServerProcess(
        folder / "miss.sqlite",
        folder / "server.log",
        settings=QUIET | provider.settings(),
        dsn=dsn,
    )
    file = register.write(
        folder / "PS_LibreAcces_Personne_activite_202611270300.txt",
        *(register.activity(serial, name=f"Fictif{serial}") for serial in range(1, 4 + SIGN_INS)),
    )
    settings = {"MISS_DATABASE": dsn or str(process.database)}
    members = folder / "members.csv"
    members.write_text(MEMBERS)
    words = ("directory", "import", str(file), str(members), "--domain", DOMAIN)
    run_command("miss_server", *words, settings=settings).check_returncode()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(process.start())
    people = [f"8{register.rpps(serial)}" for serial in range(4, 4 + SIGN_INS)]
    yield Seeds(Place(process, provider), people)
    loop.run_until_complete(process.stop())
    loop.close()


def cases(label: str) -> st.SearchStrategy[Any]:
    """Calls of one operation: what fits the document, and what does not where that can be."""
    operation = OPERATIONS[label]
    fitting = operation.as_strategy(GenerationMode.POSITIVE)
    if not (operation.body or operation.query):
        return fitting  # type: ignore[no-any-return]  # the library's
    return fitting | operation.as_strategy(GenerationMode.NEGATIVE)  # type: ignore[no-any-return]


def known(case: Any, device: Device, seed: Fields) -> None:
    """Put what there is in the place of what was made up: else every call ends at `not_found`."""
    real = {"person": PERSON, "address": device.person.account, "account": device.person.account}
    real["organisation"] = HOME
    for name in case.path_parameters or {}:
        if name in real:
            case.path_parameters[name] = quote(real[name], safe="@")
    if isinstance(case.body, dict):
        real |= seed
        case.body.update({name: real[name] for name in case.body if name in real})


async def caller_of(seeds: Seeds, label: str) -> Device:
    """Somebody who may make the call."""
    server = seeds.place.server
    # Who vouches has a national number.
    device = await enrolled(server, person=seeds.people.pop() if "attestations" in label else None)
    if "{organisation}" in label:
        async with beside(server) as store:
            account = device.person.account
            await store.add_administrator(HOME, account, actor=SERVER, now_ms=now_ms())
    return device


def request_of(case: Any, device: Device, *, signed: bool) -> httpx2.Request:
    """The call as it goes over the wire."""
    given = case.as_transport_kwargs(base_url=device.server.url)
    given.pop("cookies", None)
    body = given.pop("data", None)
    if body is None and "json" in given:
        body = json.dumps(given["json"])
    given.pop("json", None)
    content = body.encode() if isinstance(body, str) else body or b""
    headers = {k: v for k, v in given.pop("headers").items() if k.lower() != "signature"}
    request = httpx2.Request(
        given["method"],
        given["url"],
        params=given.get("params") or None,
        headers=headers,
        content=content or None,
    )
    if signed:
        sign(request, content, device.id, device.key, Signing())
    return request


def check(case: Any, answer: httpx2.Response) -> None:
    """Whether the answer is one that the document promises."""
    case.validate_response(
        answer,
        checks=[
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )
    if answer.is_success:
        return
    problem = msgspec.json.decode(answer.content, type=Problem)
    code = code_of(problem.code)
    assert code is not None, problem
    assert answer.status_code == problem.status == code.status
    assert code.wire not in ("internal", "not_durable"), problem
    response = case.operation.definition.raw["responses"][str(answer.status_code)]
    # A path that no call has is nobody's: a made-up parameter can lead there.
    no_call = code.wire == "not_found" and case.path_parameters
    assert f"`{code.wire}`" in response["description"] or no_call, problem


@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_call_answers_as_the_document_says(seeds: Seeds, label: str) -> None:
    server, device = seeds.place.server, asyncio.run(caller_of(seeds, label))
    succeeded = False
    with httpx2.Client(timeout=PATIENCE, verify=AUTHORITIES) as client:

        @hypothesis_settings(effort(8), derandomize=not LONG, database=None)
        @given(cases(label), st.booleans(), st.integers(0, 19))
        def call(case: Any, real: bool, kind: int) -> None:
            if real:
                known(case, device, asyncio.run(seeds.of(label, device)))
            answer = client.send(request_of(case, device, signed=kind != 7))
            check(case, answer)

        @hypothesis_settings(effort(2), derandomize=True, database=None)
        @given(OPERATIONS[label].as_strategy(GenerationMode.POSITIVE))
        def succeed(case: Any) -> None:
            nonlocal succeeded
            seed = asyncio.run(seeds.of(label, device))
            known(case, device, seed)
            if isinstance(case.body, dict):
                case.body.update(seed)  # also what may be left out
            for made_up in ("near", "cursor"):
                (case.query or {}).pop(made_up, None)
            answer = client.send(request_of(case, device, signed=True))
            check(case, answer)
            succeeded = succeeded or answer.is_success

        succeed()
        call()
    assert succeeded is (label not in REFUSED)
    text = server.log_text()
    assert "Traceback" not in text
    assert "fault" not in text
