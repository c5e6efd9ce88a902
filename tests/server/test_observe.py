"""The log: what it says, and that nothing secret is ever in it."""

import base64
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from miss_protocol import api
from miss_protocol import frames as f
from miss_server import observe
from tests.support.devices import Person
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.server import ServerProcess, environment
from tests.support.signing import Signing
from tests.support.wire import (
    Device,
    charter_signed,
    enrol_body,
    enrolled,
    exchange,
    further,
    new_account,
    open_call,
    server_info,
)


@pytest.fixture
def configured() -> Iterator[None]:
    """Undo what `configure` does to this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("name", sorted(observe.FORBIDDEN))
def test_a_log_call_that_names_a_secret_raises(name: str, json_lines: bool) -> None:
    observe.configure(json=json_lines)
    with pytest.raises(observe.LeakError, match=name):
        structlog.get_logger().info("event", **{name: "x"})


@pytest.mark.usefixtures("configured")
def test_below_info_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure(json=False)
    structlog.get_logger().debug("event", detail="x")
    assert capsys.readouterr().err == ""


def fail(secret: bytes) -> None:
    """Raise with a secret among the variables."""
    held = {"body": secret}
    raise ValueError(f"a fault with {len(held)} thing")


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_tells_lines_and_no_variables(
    capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    observe.configure(json=json_lines)
    secret = os.urandom(8).hex()
    try:
        fail(secret.encode())
    except ValueError:
        structlog.get_logger().exception("fault", place="here")
    said = capsys.readouterr().err
    assert "a fault with 1 thing" in said
    assert "test_observe.py" in said
    assert secret not in said
    if json_lines:
        assert json.loads(said)["place"] == "here"


@pytest.mark.usefixtures("configured")
def test_what_libraries_say_joins_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure(json=True)
    library = logging.getLogger("uvicorn.error")
    library.info("not worth a line")
    library.warning("Invalid HTTP request received.")
    try:
        b"\xff".decode()
    except UnicodeDecodeError:
        library.exception("Invalid UTF-8 sequence received from client.")
    try:
        fail(b"x")
    except ValueError:
        library.exception("Exception in ASGI application\n")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "Invalid HTTP request received."),
        ("error", "Invalid UTF-8 sequence received from client."),
        ("error", "Exception in ASGI application"),
    ]
    assert ["exception" in line for line in lines] == [False, False, True]


def test_ids_are_shortened() -> None:
    assert observe.short(bytes(range(16))) == "00010203"
    assert observe.short("abcdefghijkl@miss.example") == "abcdefgh"


def spellings(secret: bytes) -> list[str]:
    """How bytes could stand in a text."""
    return [
        secret.hex(),
        base64.b64encode(secret).decode()[:20],
        base64.urlsafe_b64encode(secret).decode()[:20],
        repr(secret[:12])[2:-1],
    ]


@pytest.mark.parametrize("options", [[], ["--log-json"]], ids=["plain", "json"])
async def test_no_secret_of_a_whole_scenario_is_in_the_log(
    tmp_path: Path, options: list[str]
) -> None:
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log", options=options)
    await server.start()
    secrets: list[bytes] = []
    words: list[str] = []

    # Enrolments, good, bad and guessed.
    account, code = await new_account(server)
    gp = Device(server, Person(account))
    body = await enrol_body(server, gp.person, code)
    for given in (
        body,
        body,
        api.Enrol(
            "GUESSED-CODE", *[getattr(body, n) for n in ("roster", "prekeys", "charter", "app")]
        ),
    ):
        await open_call(server, "POST", "/v1/enrolment", given)
    words += [code, code.lower(), "GUESSED", "guessed"]
    secrets += [body.roster[-64:], body.charter.signature, *(k[-64:] for k in body.prekeys)]
    doctor = await enrolled(server)
    tablet = await further(doctor)

    # Signed calls, good, bad and replayed.
    invited = await doctor.call("POST", "/v1/links/invitations")
    words.append(invited.json()["code"])
    words.append(invited.json()["code"].replace("-", ""))
    await doctor.call(
        "POST", "/v1/charter", charter_signed(doctor.person, (await server_info(server)).charter)
    )
    for signing in (Signing(nonce="nonce-of-the-log-test"), Signing(nonce="")):
        request = doctor.request("GET", "/v1/prekeys", signing=signing)
        words.append(request.headers["signature"][6:30])
        for _ in range(2):
            await exchange(request)
    words.append("nonce-of-the-log-test")
    await doctor.call("GET", f"/v1/accounts/{gp.person.account}/rosters?after=x")
    await doctor.call("GET", "/v1/directory/812345678901")
    await doctor.call("POST", "/v1/prekeys", b'{"prekeys": ["c2VjcmV0LXByZWtleQ=="]}')
    claimed = await doctor.call("POST", "/v1/prekeys/claim", api.PrekeysClaimed((gp.id,)))
    words += [one["prekey"][:24] for one in claimed.json()["prekeys"]]
    words += [gp.person.account, doctor.person.account, "812345678901", "c2VjcmV0"]

    # Messages, receipts, broken frames, a lost and a replaced connection.
    async with gp.online() as writer, doctor.online(f.JSON) as reader, tablet.line() as bad:
        send = gp.send(doctor.person)
        await writer.settle(send)
        await writer.settle(gp.send(doctor.person, body=b"texte en clair, patient Martin"))
        await writer.settle(gp.send(doctor.person, sn=1))
        [row] = await reader.deliveries(1)
        receipt = doctor.receipt(row)
        await reader.ack(receipts=[receipt])
        await reader.raw('[{"op":"send","text":"patient Martin"},{"op":"token-Martin"}]')
        await reader.error()
        await bad.greet(signature=os.urandom(64))
        await bad.closed()
        async with gp.online() as newer:
            await writer.closed()
            await newer.ping()
        secrets += [send.body, *(w.wrap for w in send.wraps), receipt.signature, send.id]
        secrets += [row.wrap, writer.challenge.nonce]
    words += ["Martin", "clair"]

    # Storage trouble and a fault.
    with closing(sqlite3.connect(server.database, isolation_level=None)) as db:
        db.execute("ALTER TABLE sends RENAME TO away")
        async with gp.online() as writer:
            late = gp.send(doctor.person, body=opaque_body())
            await writer.settle(late)
            db.execute("ALTER TABLE away RENAME TO sends")
            assert isinstance(await writer.settle(late), f.Sent)
        secrets += [late.body, *(w.wrap for w in late.wraps), opaque_wrap()]
    assert await server.stop() == 0

    log = server.log_text()
    for events in ("enrolled", "connected", "refused", "login refused", "commit failed"):
        assert events in log
    for secret in secrets:
        assert not [s for s in spellings(secret) if s in log]
    for word in words:
        assert word not in log
    for device in (gp, doctor):
        assert device.id.hex() not in log
        assert device.id.hex()[:8] in log
    if options:
        assert all(json.loads(line)["event"] for line in log.splitlines())
    else:
        assert not re.search(r"^Traceback", log, re.MULTILINE) or "commit failed" in log


def test_a_fault_at_the_start_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miss_server", "serve", "--port", "0", "--database", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment() | {"LANG": "fr_FR.UTF-8"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("miss-server: ")
    assert "Choisissez un autre fichier" in done.stderr
