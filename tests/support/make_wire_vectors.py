"""Write the vectors of the wire: `python -m tests.support.make_wire_vectors`.

`frames.json`, `sessions.json`, `digests.json`, `directory.json` and `audit.json` in `protocol/vectors`. Everything in them follows
from fixed values, so running this again changes nothing unless the protocol changed; within v1 it
may only add.
"""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from miss_protocol import directory as d
from miss_protocol import frames as f
from miss_protocol.codec import FrameError, client_codec, server_codec
from miss_protocol.digest import EMPTY, envelope_hash, gap_hash, roll
from miss_protocol.errors import CloseCode, Malformed
from miss_protocol.spelling import repair_cost, slips, sound
from tests.support import wire_samples as w
from tests.support.audit_vectors import audit_vectors
from tests.support.wire_conversations import session_vectors
from tests.support.wire_text import Json, plain, text_of

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"


# --- frames ---------------------------------------------------------------------------------------


def frame_vectors() -> Json:
    """Every frame in both encodings, and messages that a server must tolerate or refuse."""
    msgpack, text = client_codec(f.MSGPACK), client_codec(f.JSON)
    return {
        "about": "Each `msgpack` (hexadecimal) and `json` is a WebSocket message with one frame. "
        "In `frame`, bytes are hexadecimal. `server_reads`: what a server makes of each frame of a "
        "message, or the close code if it cannot cut the message into frames.",
        "frames": [
            {
                "name": sample.name,
                "sender": sample.sender,
                "frame": plain(sample.frame),
                "msgpack": msgpack.encode([sample.frame]).hex(),
                "json": text.encode([sample.frame]).decode(),
            }
            for sample in w.SAMPLES
        ],
        "server_reads": [
            {
                "name": name,
                "subprotocol": subprotocol,
                "message": text_of(message, subprotocol),
                **_outcome(subprotocol, message),
            }
            for name, subprotocol, message in _MESSAGES
        ],
    }


def _outcome(subprotocol: f.Subprotocol, message: bytes) -> Json:
    codec = server_codec(subprotocol)
    try:
        raws = codec.split(message)
    except Malformed:
        return {"close": int(CloseCode.PROTOCOL)}
    outcomes: list[Json] = []
    for raw in raws:
        try:
            outcomes.append({"frame": plain(codec.decode_frame(raw))})
        except FrameError as error:
            outcomes.append({"error": error.code.wire, "about": error.about})
    return {"frames": outcomes}


_PING = b"\x82\xa2op\xa4ping\xa1n"
_MESSAGES: tuple[tuple[str, f.Subprotocol, bytes], ...] = (
    ("no frame at all", f.MSGPACK, b"\x90"),
    ("no frame at all", f.JSON, b"[]"),
    ("an integer that is longer than need be", f.MSGPACK, b"\x91" + _PING + b"\xcd\x00\x07"),
    ("a field that is not known", f.JSON, b'[{"op":"ping","n":7,"later":{"x":[null]}}]'),
    ("the op at the end", f.JSON, b'[{"n":7,"op":"ping"}]'),
    ("white space", f.JSON, b' [ { "op" : "ping" , "n" : 7 } ] '),
    ("an op that is not known, between two that are", f.JSON,
     b'[{"op":"ping","n":1},{"op":"dance"},{"op":"ping","n":2}]'),
    ("a number as text", f.JSON, b'[{"op":"ping","n":"7"}]'),
    ("a number that is not whole", f.JSON, b'[{"op":"ping","n":7.5}]'),
    ("a number beyond 2^53 - 1", f.JSON, b'[{"op":"ping","n":9007199254740992}]'),
    ("a number below zero", f.MSGPACK, b"\x91" + _PING + b"\xff"),
    ("no op", f.JSON, b'[{"n":7}]'),
    ("a frame that is no map", f.MSGPACK, b"\x91\x07"),
    ("a server's frame", f.JSON, b'[{"op":"drained","position":1}]'),
    ("bad UTF-8", f.MSGPACK, b"\x91\x82\xa2op\xa4ping\xa1n\xa1\xff"),
    ("cut short", f.MSGPACK, b"\x91" + _PING),
    ("cut short", f.JSON, b'[{"op":"ping","n":7}'),
    ("a byte too many", f.MSGPACK, b"\x91" + _PING + b"\x07\x00"),
    ("not an array", f.MSGPACK, _PING + b"\x07"),
    ("not an array", f.JSON, b'{"op":"ping","n":7}'),
    ("the other subprotocol", f.MSGPACK, b'[{"op":"ping","n":7}]'),
)  # fmt: skip


# --- digests --------------------------------------------------------------------------------------


def digest_vectors() -> Json:
    """One mailbox's rows, their hashes, and the digest after each."""
    envelopes = [
        (w.ALICE, bytes(w.PHONE), bytes(w.MESSAGE), w.BODY, w.WRAP),
        (w.ALICE, bytes(w.PHONE), bytes(w.ANSWER), w.BODY, w.FIRST_WRAP),
        (w.BRUNO, bytes(w.DESK), bytes(w.ANSWER), b"", b""),
    ]
    rows: list[Json] = [
        {
            "account": account,
            "device": device.hex(),
            "id": message.hex(),
            "body": body.hex(),
            "wrap": wrap.hex(),
            "hash": envelope_hash(account, device, message, body, wrap).hex(),
        }
        for account, device, message, body, wrap in envelopes
    ]
    rows.append({"gap": "quota", "hash": gap_hash("quota").hex()})
    digest = EMPTY
    for position, row in enumerate(rows, 1):
        digest = roll(digest, position, bytes.fromhex(row["hash"]))
        row.update(position=position, digest=digest.hex())
    return {
        "about": "Rows of one mailbox from its beginning (spec 03-session §6). Bytes are "
        "hexadecimal. A row that became a gap later keeps the hash that it had.",
        "empty": EMPTY.hex(),
        "rows": rows,
    }


# --- the directory --------------------------------------------------------------------------------


def directory_vectors() -> Json:
    """How words are folded, and a page with an entry of each kind."""
    return {
        "about": "`folding`: the words of a text (spec 05-directory §3.1). `queries`: the words that an "
        "entry must begin a word with. `page`: an answer to a search, which a client must read; an absent "
        "field is empty, and an unknown one is ignored. `repaired_page`: one with entries found by repair, near a "
        "place. `employed`: somebody who works at an establishment. `sounds` and `repairs`: what a misspelt word may mean and its cost (§3.4).",
        "folding": [{"text": text, "words": list(d.normalise(text))} for text in w.FOLDED],
        "queries": [{"text": text, "words": list(d.query_words(text))} for text in w.QUERIES],
        "page": msgspec.to_builtins(w.PAGE),
        "repaired_page": msgspec.to_builtins(w.REPAIRED_PAGE),
        "made_from": msgspec.to_builtins(w.MADE_FROM),
        "employed": msgspec.to_builtins(w.EMPLOYED),
        "sounds": [{"word": word, "sound": sound(word)} for word in w.SOUNDS],
        "repairs": [
            {"typed": typed, "meant": meant, "slips": n, "cost": repair_cost(typed, meant, n)}
            for typed, meant in w.REPAIRS
            for n in (slips(typed, meant),)
        ],
    }


ALL: dict[str, Callable[[], Json]] = {
    "directory": directory_vectors,
    "frames": frame_vectors,
    "sessions": session_vectors,
    "digests": digest_vectors,
    "audit": audit_vectors,
}


def text(name: str) -> str:
    """A file's content."""
    return json.dumps(ALL[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file in ALL:
        (FOLDER / f"{file}.json").write_text(text(file), "utf-8")
