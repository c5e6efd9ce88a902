"""Enrol a device over HTTP by hand, for `plain_json.py`: PyNaCl and the standard library only.

    python plain_enrol.py http://127.0.0.1:8440 CODE a.json

`a.json` then holds the device's keys and its place in the mailbox, readable by its owner alone. The
prekey that is uploaded is one that nobody can use. Numbers in brackets are sections of protocol/spec.
"""

import hashlib
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from nacl.public import PrivateKey
from nacl.signing import SigningKey
from plain_json import b64, now, pack, sign, u64


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - the URL is the user's own
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def enrol(server: str, code: str, path: Path) -> None:
    """Found an account with one device [04 §3]; then the account key is forgotten."""
    preview = post(f"{server}/v1/enrolment/preview", {"code": code})
    account, charter = preview["account"], preview["charter"]
    key, account_key, device = SigningKey.generate(), SigningKey.generate(), os.urandom(16)
    olm = bytes(PrivateKey.generate().public_key)
    fields = (b"\1", account.encode(), device, bytes(key.verify_key), olm, u64(now()))
    certificate = pack(*fields, sign(key, "device", *fields))
    entry = pack(certificate, b"plain script", b"\1")
    roster = (b"\1", account.encode(), bytes(account_key.verify_key), u64(1), bytes(32))
    roster += (pack(entry), b"", u64(now()), b"")
    half = bytes(PrivateKey.generate().public_key)  # a last resort of random bytes
    prekey = (b"\1", device, u64(0), olm, os.urandom(1184) + half)
    text = hashlib.sha256((charter["en"] + "\n" + charter["fr"]).encode()).digest()
    at = now()
    accepted = sign(
        key, "charter", account.encode(), device, charter["version"].encode(), text, u64(at)
    )
    body = {
        "code": code,
        "roster": b64(pack(*roster, sign(account_key, "roster", *roster))),
        "prekeys": [b64(pack(b"\1", *prekey, sign(key, "last-resort", *prekey)))],
        "charter": {
            "version": charter["version"], "hash": b64(text), "at": at, "signature": b64(accepted)
        },
        "app": {"name": "plain", "version": "1", "platform": "script"},
    }  # fmt: skip
    post(f"{server}/v1/enrolment", body)
    state = {"server": server, "account": account, "device": b64(device), "key": b64(bytes(key))}
    path.write_text(json.dumps(state | {"sn": 0, "acked": 0, "digest": b64(bytes(32))}))
    path.chmod(0o600)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [server, code, keys]:
            enrol(server.rstrip("/"), code, Path(keys))
        case _:
            sys.exit(__doc__)
