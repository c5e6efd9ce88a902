"""What goes wrong over HTTP is told as an RFC 9457 document, in two languages, with a code."""

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from miss_protocol import limits
from miss_protocol.api import CodeGiven
from miss_protocol.errors import Code
from miss_protocol.ids import AccountAddress
from miss_server.http import throttle
from miss_server.storage.sqlite.store import SqliteStore
from tests.support.hosted import hosted
from tests.support.server import ServerProcess
from tests.support.signing import Signing
from tests.support.wire import (
    Device,
    code_of,
    enrolled,
    exchange,
    json_problem,
    open_call,
)


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """A device of the standing server."""
    return await enrolled(standing)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("fr-FR,fr;q=0.9", "fr"),
        ("en", "en"),
        ("", "en"),
        ("de", "en"),
        ("fr;;q=,;fr", "en"),
        (";;,q=x", "en"),
    ],
)
async def test_a_problem_speaks_the_callers_language(
    standing: ServerProcess, accepted: str, language: str
) -> None:
    answer = await open_call(
        standing,
        "POST",
        "/v1/enrolment/preview",
        CodeGiven("ABCD"),
        headers={"accept-language": accepted, "x-forwarded-for": f"198.18.7.{len(accepted)}"},
    )
    problem = json_problem(answer)
    code = Code.CODE_UNKNOWN
    assert (problem.code, problem.status, answer.status_code) == (code.wire, 404, 404)
    assert problem.title == code.text(language)
    assert problem.texts == {"en": code.text("en"), "fr": code.text("fr")}
    assert problem.type == "urn:miss:problem:code_unknown"
    assert problem.retry == "never"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v2/server", 404, "not_found"),
        ("GET", "/v1/accounts", 404, "not_found"),
        ("GET", "/v1/ws", 404, "not_found"),
        ("GET", "/v1/%ff%00", 404, "not_found"),
        ("POST", "/v1/server", 405, "unsupported"),
        ("DELETE", "/v1/links", 405, "unsupported"),
        ("PUT", "/v1/messages", 405, "unsupported"),
    ],
)
async def test_unknown_paths_and_methods(
    standing: ServerProcess, method: str, path: str, status: int, code: str
) -> None:
    answer = await open_call(standing, method, path)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"code": 5}',
        b'{"code": "' + b"x" * 65 + b'"}',
        b'{"code": "\xff"}',
        b'{"code": "\\ud800"}',
        b"[" * 100_000,
        b'{"kode": "ABCD"}',
    ],
    ids=lambda body: str(body[:20]),
)
async def test_bodies_that_are_not_what_the_call_reads(device: Device, body: bytes) -> None:
    answer = await open_call(device.server, "POST", "/v1/enrolment/preview", body)
    assert (answer.status_code, code_of(answer)) == (400, "malformed")
    answer = await device.call("POST", "/v1/prekeys/claim", body)
    assert (answer.status_code, code_of(answer)) == (400, "malformed")


@pytest.mark.parametrize("signed", [True, False])
async def test_a_body_that_is_too_large(device: Device, signed: bool) -> None:
    body = bytes(limits.HTTP_BODY_MAX + 1)
    if signed:
        answer = await device.call("POST", "/v1/prekeys", body)
    else:
        answer = await open_call(device.server, "POST", "/v1/enrolment", body)
    assert (answer.status_code, code_of(answer)) == (413, "too_large")
    assert (await device.call("GET", "/v1/prekeys")).status_code == 200


async def test_a_caller_that_goes_away_in_its_body_is_no_fault(server: ServerProcess) -> None:
    address = urlsplit(server.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /v1/enrolment HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf of it"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await server.stop()  # waits for the call to be over
    assert "caller gone" in server.log_text()
    assert "fault" not in server.log_text()
    assert "Traceback" not in server.log_text()


async def test_bytes_that_are_no_http(server: ServerProcess) -> None:
    address = urlsplit(server.url)
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"A" * 100_000 + b"\r\n\r\n"):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(garbage)
        said = b""
        with suppress(ConnectionError):  # whoever sends on after the answer is cut off
            writer.write_eof()
            said = await reader.read()
        assert b" 200 " not in said
        writer.close()
    assert (await open_call(server, "GET", "/health/live")).status_code == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/accounts/nobody/rosters", "malformed"),
        ("/v1/accounts/" + "a" * 26 + "@" + "x" * 400 + "/rosters", "malformed"),
        ("/v1/accounts/" + "a" * 26 + "@miss.example/rosters", "unknown_account"),
        ("/v1/accounts/OWN/rosters?after=soon", "malformed"),
        ("/v1/accounts/OWN/rosters?after=" + "9" * 5000, "malformed"),
        ("/v1/directory?q=anne&limit=many", "malformed"),
        ("/v1/directory?q=anne&cursor=nonsense", "malformed"),
        ("/v1/directory?q=anne&cursor=" + "A" * 3000, "malformed"),
        ("/v1/directory?q=" + "x" * 5000, "too_large"),
        ("/v1/directory?q=anne&kind=robot", "malformed"),
        ("/v1/directory?q=anne&profession=%27%3B%20DROP", "malformed"),
        ("/v1/directory?q=anne&department=100", "malformed"),
        ("/v1/directory?q=anne&near=" + "x" * 65, "too_large"),
        ("/v1/directory?q=anne&near=%00", "malformed"),
        ("/v1/directory?q=anne&near=91,0", "malformed"),
        ("/v1/directory?q=anne&near=Nulleville", "not_found"),
        ("/v1/directory?q=anne&" + "&".join(f"profession={n}" for n in range(11)), "too_large"),
        ("/v1/directory/899999999999", "not_found"),
        ("/v1/directory/" + "9" * 500, "not_found"),
        ("/v1/directory/%00", "not_found"),
    ],
)
async def test_nonsense_in_paths_and_queries(device: Device, path: str, code: str) -> None:
    answer = await device.call("GET", path.replace("OWN", device.person.account))
    assert code_of(answer) in (code, "malformed")
    assert answer.status_code < 500


@pytest.mark.parametrize("after", ["-5", "0", "9" * 30])
async def test_any_number_is_a_place_to_begin(device: Device, after: str) -> None:
    answer = await device.call("GET", f"/v1/accounts/{device.person.account}/rosters?after={after}")
    assert len(answer.json()["rosters"]) == (0 if after.startswith("9") else 1)


async def test_searches_of_one_device_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "SEARCHES_PER_MINUTE", 4)
    async with hosted(tmp_path) as server:
        device, other = await enrolled(server), await enrolled(server)
        answers = [await device.call("GET", "/v1/directory?q=anne") for _ in range(12)]
        # Where a minute of the clock begins among them, one or two more may pass: it slides.
        assert [a.status_code for a in answers[:4]] == [200] * 4
        refused = next(a for a in answers if a.status_code != 200)
        assert code_of(refused) == "rate_limited"
        assert refused.headers["retry-after"] == "10"
        problem = json_problem(refused)
        assert (problem.retry, problem.retry_after) == ("same", 10.0)
        assert (await other.call("GET", "/v1/directory?q=anne")).status_code == 200


class Broken(SqliteStore):
    """A store with a fault in one method and a disk without room in another."""

    async def find(self, address: AccountAddress) -> Any:
        raise AssertionError("never used here")

    async def count_prekeys(self, device: Any) -> Any:
        raise RuntimeError("internal-text-of-a-fault")


async def test_a_fault_of_ours_is_told_without_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with hosted(tmp_path, Broken) as server:
        device = await enrolled(server)
        answer = await device.call("GET", "/v1/prekeys")
        assert (answer.status_code, code_of(answer)) == (500, "internal")
        assert json_problem(answer).retry == "same"
        assert "internal-text" not in answer.text
        assert "RuntimeError" not in answer.text


async def test_a_locked_database_is_not_durable_for_calls_that_write(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        device = await enrolled(server)
        server.store._writer.lock_patience_ms = 20
        other = sqlite3.connect(server.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = await device.call("GET", "/v1/prekeys")
        assert (answer.status_code, code_of(answer)) == (503, "not_durable")
        assert json_problem(answer).retry == "same"
        assert answer.headers["retry-after"] == "2"
        async with device.line() as line:
            await line.greet()
            assert (await line.error()).code == "busy"
            assert await line.closed() == 4032
        other.execute("ROLLBACK")
        other.close()
        assert (await device.call("GET", "/v1/prekeys")).status_code == 200


async def test_a_signature_is_looked_at_before_the_body_is_read_as_json(device: Device) -> None:
    request = device.request("POST", "/v1/prekeys/claim", b"{", signing=Signing(nonce=""))
    assert code_of(await exchange(request)) == "auth_failed"
