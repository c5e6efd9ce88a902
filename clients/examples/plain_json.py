"""The JSON subprotocol by hand: websockets and PyNaCl only, nothing of this project is imported.

    python plain_enrol.py http://127.0.0.1:8440 CODE a.json        # for each of two people
    python plain_json.py send a.json b.json
    python plain_json.py receive b.json

It logs in, sends an opaque envelope to another such device, receives, acknowledges with a signed
receipt. It does not encrypt: the envelope is random bytes of the right form. Numbers in brackets are
sections of protocol/spec.
"""

import hashlib
import json
import os
import sys
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

JSON = "miss.v1.json"


def now() -> int:
    return int(time.time() * 1000)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def pack(*fields: bytes) -> bytes:
    """The canonical encoding [04 §1]: each field behind its length."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def sign(key: SigningKey, role: str, *fields: bytes) -> bytes:
    """Every signature names its purpose [04 §2]."""
    return key.sign(b"MiSS/1/" + role.encode() + b"\0" + pack(*fields)).signature


def login(socket: ClientConnection, state: dict[str, Any]) -> None:
    """Challenge, hello, welcome [03 §2]."""
    [challenge] = json.loads(socket.recv())
    domain = state["account"].partition("@")[2]  # one's own, never what the server claims
    signed = (
        domain.encode(),
        b64decode(challenge["nonce"]),
        b64decode(state["device"]),
        JSON.encode(),
    )
    hello = {k: state[k] for k in ("device", "acked", "digest", "sn")} | {
        "op": "hello",
        "roster": 1,
        "signature": b64(sign(SigningKey(b64decode(state["key"])), "login", *signed)),
        "app": {"name": "plain", "version": "1", "platform": "script"},
    }
    socket.send(json.dumps([hello]))


def run(path: Path, to: Path | None) -> None:
    """Send one envelope to the device of `to`, or receive one."""
    state = json.loads(path.read_text())
    url = "ws" + state["server"].removeprefix("http") + "/v1/ws"
    with connect(url, subprotocols=[Subprotocol(JSON)], compression=None) as socket:
        login(socket, state)
        while True:
            for frame in json.loads(socket.recv()):
                if frame["op"] == "welcome" and to is not None:
                    state["sn"] += 1
                    path.write_text(json.dumps(state))  # saved before it leaves
                    socket.send(json.dumps([envelope(state, json.loads(to.read_text()))]))
                elif frame["op"] in ("sent", "refused"):
                    print(frame["op"], frame.get("code", ""))  # noqa: T201
                    return
                elif frame["op"] == "deliver" and to is None:
                    accept(state, frame)
                    path.write_text(json.dumps(state))  # saved before it is acknowledged
                    receipt = receipt_for(state, frame)
                    ack = {"op": "ack", "position": state["acked"], "receipts": [receipt], "ref": 1}
                    socket.send(json.dumps([ack]))
                elif frame["op"] == "acked":
                    return
                elif frame["op"] == "ping":
                    socket.send(json.dumps([{"op": "pong", "n": frame["n"]}]))


def envelope(state: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Random bytes in the form of a body and a steady wrap of suite 0x01 [04 §6, §8]."""
    names = sorted((state["account"], other["account"]))
    wrap = b"\1\1" + os.urandom(250)
    return {
        "op": "send", "sn": state["sn"], "id": b64(os.urandom(16)), "at": now(),
        "body": b64(b"\1" + os.urandom(24 + 256 + 16)),
        "wraps": [{"device": other["device"], "wrap": b64(wrap)}],
        "rosters": [{"account": name, "version": 1} for name in names],
    }  # fmt: skip


def accept(state: dict[str, Any], row: dict[str, Any]) -> None:
    """Count the row and roll the digest on [03 §6]."""
    parts = (b64decode(row[field]) for field in ("device", "id", "body", "wrap"))
    envelope_hash = hashlib.blake2b(
        pack(row["account"].encode(), *parts), digest_size=32, person=b"MiSS1 envelope"
    ).digest()
    rolled = b64decode(state["digest"]) + u64(row["position"]) + envelope_hash
    digest = hashlib.blake2b(rolled, digest_size=32, person=b"MiSS1 mailbox").digest()
    state |= {"acked": row["position"], "digest": b64(digest)}
    print("received", len(b64decode(row["body"])), "bytes from", row["account"])  # noqa: T201


def receipt_for(state: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """This device's signed word that it has the message [04 §4]."""
    at, key = now(), SigningKey(b64decode(state["key"]))
    ids = [row["id"], row["device"], state["device"]]
    signature = sign(key, "receipt", *map(b64decode, ids), b"delivered", u64(at))
    return dict(zip(("id", "from", "to"), ids, strict=True)) | {
        "state": "delivered", "at": at, "sig": b64(signature)
    }  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", keys, other]:
            run(Path(keys), Path(other))
        case ["receive", keys]:
            run(Path(keys), None)
        case _:
            sys.exit(__doc__)
