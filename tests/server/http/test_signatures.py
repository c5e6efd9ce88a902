"""Signed HTTP calls: what a signature must cover, when, and only once."""

import base64
import hashlib
import os

import httpx2
import pytest
from nacl.signing import SigningKey

from miss_protocol import http_signature, limits
from miss_protocol.api import PrekeysClaimed
from tests.support.mailing import revoke
from tests.support.server import ServerProcess
from tests.support.signing import Signing
from tests.support.wire import (
    Device,
    code_of,
    encode,
    enrolled,
    exchange,
    further,
    json_problem,
    now_ms,
    open_call,
    publish,
)

COUNT = "/v1/prekeys"
CLAIM = "/v1/prekeys/claim"


@pytest.fixture
async def device(standing: ServerProcess) -> Device:
    """A device of the standing server."""
    return await enrolled(standing)


async def test_a_signed_call_is_answered(device: Device) -> None:
    assert (await device.call("GET", COUNT)).status_code == 200
    assert (await device.call("POST", CLAIM, PrekeysClaimed((device.id,)))).status_code == 200


async def test_a_call_without_a_signature(device: Device) -> None:
    answer = await device.call("GET", COUNT, signing=None)
    assert code_of(answer) == "auth_failed"
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "how",
    [
        Signing(key=SigningKey(b"k" * 32)),
        Signing(key_id="5f" * 16),
        Signing(key_id="me"),
        Signing(key_id="AB" * 16),
        Signing(tag="other-app"),
        Signing(tag=None),
        Signing(nonce=""),
        Signing(nonce="n" * 65),
        *(
            Signing(covered=[c for c in http_signature.COVERED if c != left_out])
            for left_out in http_signature.COVERED
        ),
    ],
    ids=[
        *("another-key", "unknown-device", "no-device-id", "capitals", "other-tag", "no-tag"),
        *("empty-nonce", "long-nonce"),
        *(f"without-{left_out}" for left_out in http_signature.COVERED),
    ],
)
async def test_signatures_that_prove_nothing(device: Device, how: Signing) -> None:
    for method, path, body in (("POST", CLAIM, PrekeysClaimed(())), ("GET", COUNT, None)):
        if body is None and "content-digest" not in how.covered:
            continue  # an empty body without a digest has nothing that could be altered
        assert code_of(await device.call(method, path, body, signing=how)) == "auth_failed"


async def test_another_devices_key_id_is_not_ours_to_use(device: Device) -> None:
    other = await enrolled(device.server)
    how = Signing(key_id=http_signature.key_id(other.id))
    assert code_of(await device.call("GET", COUNT, signing=how)) == "auth_failed"


def altered(request: httpx2.Request, **change: object) -> httpx2.Request:
    """The request with another method, URL, body or headers, under the same signature."""
    values = {"method": request.method, "url": request.url, "content": request.content} | change
    return httpx2.Request(
        str(values["method"]),
        values["url"],  # type: ignore[arg-type]  # a URL or a string
        content=values["content"] or None,  # type: ignore[arg-type]  # bytes
        headers=change.get("headers", headers_of(request)),  # type: ignore[arg-type]  # a mapping
    )


def headers_of(request: httpx2.Request) -> dict[str, str]:
    """The headers that a proxy would pass on."""
    return {
        name: value
        for name, value in request.headers.items()
        if name in ("signature", "signature-input", "content-digest", "host")
    }


async def test_whatever_is_altered_breaks_the_signature(device: Device) -> None:
    body = encode(PrekeysClaimed((device.id,)))

    def request() -> httpx2.Request:
        return device.request("POST", CLAIM, body)

    other = encode(PrekeysClaimed((os.urandom(16),)))
    digest = base64.b64encode(hashlib.sha256(other).digest()).decode()
    url = device.server.url
    forged = [
        altered(request(), content=other),
        altered(request(), content=b""),
        altered(
            request(),
            content=other,
            headers=headers_of(request()) | {"content-digest": f"sha-256=:{digest}:"},
        ),
        altered(request(), url=url + COUNT),
        altered(request(), url=url + CLAIM + "?all=yes"),
        altered(request(), headers=headers_of(request()) | {"host": "elsewhere.example"}),
        altered(device.request("GET", "/v1/directory?q=anne"), url=url + "/v1/directory?q=paul"),
        altered(device.request("GET", COUNT), method="POST"),
    ]
    for each in forged:
        assert code_of(await exchange(each)) == "auth_failed", each
    assert (await exchange(altered(request()))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"signature-input": "nonsense"},
        {"signature-input": 'miss=("@method";keyid="' + "0" * 32 + '"'},
        {"signature-input": 'miss=();keyid="KEY"'},
        {"signature-input": 'miss=("@method");created=99999999999999999999;keyid="KEY"'},
        {"signature-input": 'miss=("@method");created="now";keyid="KEY"'},
        {"signature-input": 'miss=("@method" "@method");created=NOW;keyid="KEY";tag="miss-v1"'},
        {"signature-input": 'miss=("@status");created=NOW;keyid="KEY";tag="miss-v1"'},
        {"signature-input": 'miss=("x-\\n");created=NOW;keyid="KEY";tag="miss-v1"'},
        {"signature-input": 'miss="text";created=NOW;keyid="KEY";tag="miss-v1"'},
        {"signature": "miss=:AAAA:"},
        {"signature": "miss=:!!!!:"},
        {"signature": "other=:AAAA:"},
        {"signature": ""},
        {"content-digest": "sha-256=:AAAA:"},
        {"content-digest": "md5=:AAAA:"},
        {"content-digest": "nonsense"},
        {"signature": "miss=:" + "A" * 88 + ":"},
        {"signature-input": "\u00e9"},
    ],
    ids=str,
)
async def test_broken_signature_headers_are_refused_and_no_fault(
    device: Device, headers: dict[str, str]
) -> None:
    request = device.request("POST", CLAIM, PrekeysClaimed(()))
    for name, value in headers.items():
        text = value.replace("KEY", device.id.hex()).replace("NOW", str(now_ms() // 1000))
        request.headers[name] = text
    assert code_of(await exchange(request)) == "auth_failed"


async def test_two_signatures_are_one_too_many(device: Device) -> None:
    first = device.request("GET", COUNT)
    second = device.request("GET", COUNT, signing=Signing(label="other"))
    for name in ("signature", "signature-input"):
        first.headers[name] += ", " + second.headers[name]
    assert code_of(await exchange(first)) == "auth_failed"


@pytest.mark.parametrize("off", [-1, 1])
async def test_a_clock_that_is_off_is_told_apart_from_a_wrong_key(device: Device, off: int) -> None:
    now = now_ms() // 1000
    for seconds in (limits.CLOCK_SKEW_MAX + 5, 24 * 3600):
        how = Signing(created_s=now + off * seconds)
        assert code_of(await device.call("GET", COUNT, signing=how)) == "clock_skew"
    how = Signing(created_s=now + off * (limits.CLOCK_SKEW_MAX - 30))
    assert (await device.call("GET", COUNT, signing=how)).status_code == 200


async def test_a_signature_past_its_own_end(device: Device) -> None:
    request = device.request("GET", COUNT)
    parameters = request.headers["signature-input"]
    request.headers["signature-input"] = parameters + f";expires={now_ms() // 1000 - 5}"
    assert code_of(await exchange(request)) == "auth_failed"


async def test_a_replayed_call_is_refused_even_by_a_server_that_was_killed(
    server: ServerProcess,
) -> None:
    device = await enrolled(server)
    request = device.request("GET", COUNT)
    assert (await exchange(request)).status_code == 200
    assert code_of(await exchange(request)) == "replayed"
    await server.kill()
    await server.start()
    assert code_of(await exchange(request)) == "replayed"
    assert (await device.call("GET", COUNT)).status_code == 200


async def test_a_nonce_is_one_devices_own(device: Device) -> None:
    other = await enrolled(device.server)
    how = Signing(nonce="the-same-for-both")
    assert (await device.call("GET", COUNT, signing=how)).status_code == 200
    assert (await other.call("GET", COUNT, signing=how)).status_code == 200
    assert code_of(await device.call("GET", CLAIM, signing=how)) in ("unsupported", "replayed")
    assert code_of(await device.call("GET", COUNT, signing=how)) == "replayed"


async def test_a_revoked_device_and_a_suspended_account(device: Device) -> None:
    tablet = await further(device)
    assert (await tablet.call("GET", COUNT)).status_code == 200
    revoke(device.person, tablet.id)
    await publish(device)
    refused = await tablet.call("GET", COUNT)
    assert (code_of(refused), json_problem(refused).retry) == ("revoked", "enrol")


async def test_an_open_call_needs_no_signature(standing: ServerProcess) -> None:
    assert (await open_call(standing, "GET", "/v1/server")).status_code == 200
    assert (await open_call(standing, "GET", "/health/live")).json() == {"status": "live"}
