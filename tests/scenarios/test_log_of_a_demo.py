"""The log of a whole demo: every event in it can be followed, and nothing in it is anybody's secret."""

import base64
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from miss_client.demo import meeting, refusing, stage, talking
from miss_client.demo.narrator import Narrator
from miss_client.demo.stage import Stage
from miss_client.line import Line
from miss_protocol.identity import prekeys

TEXTS = (
    talking.QUESTION, talking.ANSWER, talking.FROM_NURSE, talking.FROM_PHARMACIST,
    refusing.ONCE_MORE, refusing.TO_REPLAY,
)  # fmt: skip


def spellings(secret: bytes) -> Iterator[str]:
    """How bytes could stand in a log."""
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")[:-1]
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")[:-1]
    yield repr(secret)[2:-1]


async def test_no_content_key_code_or_token_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = stage._environment
    monkeypatch.setattr(stage, "_environment", lambda: environment() | {"MISS_LOG_JSON": "true"})
    monkeypatch.setattr(stage, "_LISTENING", re.compile(r'url": "(http://127\.0\.0\.1:(\d+))'))
    narrator, place = Narrator(Console(file=io.StringIO())), Stage(tmp_path)
    secrets: list[bytes] = [text.encode() for text in TEXTS]
    words: list[str] = list(TEXTS)
    try:
        codes = await meeting.prepare(narrator, place)
        words += [*codes.values(), *(code.replace("-", "") for code in codes.values())]
        async with Line("127.0.0.1", place.port) as line:
            cast = await meeting.enrol_all(narrator, place, line, codes)
            try:
                await meeting.find(narrator, cast)
                await talking.survive(narrator, place, cast)
                await talking.answer(narrator, cast)
                await refusing.refuse(narrator, place, cast)
            finally:
                for device in cast.devices():
                    secrets.append(bytes(device.client.vault.signing_key))
                    words.append(str(device.client.account))
                    await device.leave()
    finally:
        await place.stop()
    with closing(sqlite3.connect(place.database)) as db:
        for (blob,) in db.execute("SELECT prekey FROM prekeys"):
            key = prekeys.decode(blob)
            secrets += [key.otk, key.signature]
        secrets += [
            row[0] for row in db.execute("SELECT value FROM settings WHERE name = 'pepper'")
        ]
        secrets += [row[0] for row in db.execute("SELECT signing_key FROM devices")]
        secrets += [row[0] for row in db.execute("SELECT message FROM sends")]
        secrets += [row[0] for row in db.execute("SELECT fingerprint FROM sends")]
        secrets += [row[0] for row in db.execute("SELECT body FROM envelopes") if row[0]]
        words += [row[0] for row in db.execute("SELECT nonce FROM nonces")]
        words += [row[0] for row in db.execute("SELECT person FROM accounts")]
        words += [row[0] for row in db.execute("SELECT name FROM accounts")]
    text = place.log.read_text("utf-8")
    assert len(secrets) > 50
    for secret in secrets:
        assert not [spelt for spelt in spellings(secret) if spelt in text]
    assert not [word for word in words if word in text]
    events: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    check_events(events)


def check_events(events: list[dict[str, Any]]) -> None:
    """Each says what, when and how bad; calls and connections can be followed."""
    for event in events:
        assert event["event"]
        assert event["timestamp"].endswith("Z")
        assert event["level"] in ("info", "warning", "error")
    by_name: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_name.setdefault(event["event"], []).append(event)
    assert {"listening", "connected", "enrolled", "refused"} <= by_name.keys()
    for event in by_name["enrolled"] + by_name["refused"]:
        assert re.fullmatch(r"[0-9a-f]{16}", event["request"])
    names = [event["connection"] for event in by_name["connected"]]
    assert len(set(names)) == len(names)
    for event in by_name["left"]:
        assert event["connection"] in names
        assert event["why"]
