"""The published vectors of the wire and the code say the same."""

import json
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import client_codec, server_codec
from miss_protocol.directory import DirectorySources, Entry, SearchPage, normalise, query_words
from miss_protocol.errors import CloseCode, Malformed
from miss_protocol.identity.login import verify_login
from miss_protocol.ids import DeviceId
from miss_protocol.server_session import ServerSession
from miss_protocol.spelling import repair_cost, slips, sound
from tests.support import wire_samples as w
from tests.support.make_wire_vectors import ALL, FOLDER, text
from tests.support.wire_text import bytes_of, plain

FRAMES: dict[str, Any] = json.loads((FOLDER / "frames.json").read_text("utf-8"))
SESSIONS: dict[str, Any] = json.loads((FOLDER / "sessions.json").read_text("utf-8"))
DIRECTORY: dict[str, Any] = json.loads((FOLDER / "directory.json").read_text("utf-8"))
DIGESTS: dict[str, Any] = json.loads((FOLDER / "digests.json").read_text("utf-8"))

conversations = pytest.mark.parametrize(
    "case", SESSIONS["conversations"], ids=lambda case: f"{case['name']}-{case['subprotocol']}"
)


@pytest.mark.parametrize("name", ALL)
def test_the_files_are_what_the_code_writes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == text(name)


def test_words_are_folded_as_written() -> None:
    for case in DIRECTORY["folding"]:
        assert list(normalise(case["text"])) == case["words"]
    for case in DIRECTORY["queries"]:
        assert list(query_words(case["text"])) == case["words"]


def test_a_page_of_the_directory_is_read_as_written() -> None:
    assert msgspec.convert(DIRECTORY["page"], SearchPage) == w.PAGE
    newer = json.dumps(DIRECTORY["page"] | {"later": 1})
    assert msgspec.json.decode(newer, type=SearchPage) == w.PAGE
    assert msgspec.convert(DIRECTORY["repaired_page"], SearchPage) == w.REPAIRED_PAGE
    assert msgspec.convert(DIRECTORY["employed"], Entry) == w.EMPLOYED
    assert msgspec.convert(DIRECTORY["made_from"], DirectorySources) == w.MADE_FROM


def test_words_are_repaired_as_written() -> None:
    for case in DIRECTORY["sounds"]:
        assert sound(case["word"]) == case["sound"]
    for case in DIRECTORY["repairs"]:
        assert slips(case["typed"], case["meant"]) == case["slips"]
        assert repair_cost(case["typed"], case["meant"], case["slips"]) == case["cost"]


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FRAMES["frames"], ids=lambda case: case["name"])
def test_a_frame_is_read_from_either_encoding(case: dict[str, Any]) -> None:
    make = server_codec if case["sender"] == "client" else client_codec
    for subprotocol, message in (
        (f.MSGPACK, bytes.fromhex(case["msgpack"])),
        (f.JSON, case["json"].encode()),
    ):
        codec: Any = make(subprotocol)
        (raw,) = codec.split(message)
        frame = codec.decode_frame(raw)
        assert plain(frame) == case["frame"]
        assert codec.encode([frame]) == message


def test_the_vectors_have_every_frame() -> None:
    for sender, union in (("client", f.ClientFrame), ("server", f.ServerFrame)):
        written = {one["frame"]["op"] for one in FRAMES["frames"] if one["sender"] == sender}
        assert written == {str(frame.__struct_config__.tag) for frame in union.__args__}


@pytest.mark.parametrize(
    "case", FRAMES["server_reads"], ids=lambda case: f"{case['name']}-{case['subprotocol']}"
)
def test_a_server_reads_messages_as_written(case: dict[str, Any]) -> None:
    session = ServerSession(server_codec(case["subprotocol"]), now=0.0)
    session.receive(bytes_of(case["message"], case["subprotocol"]), 0.0)
    assert session.close_code == case.get("close")
    codec = client_codec(case["subprotocol"])
    answers = [
        codec.decode_frame(raw)
        for message in session.data_to_send()
        for raw in codec.split(message)
    ]
    told = [(one.code, one.about) for one in answers if isinstance(one, f.Error)]
    expected = [(one["error"], one["about"]) for one in case.get("frames", []) if "error" in one]
    assert told == (expected if "frames" in case else [("malformed", "")])
    pongs = [one.n for one in answers if isinstance(one, f.Pong)]
    assert pongs == [one["frame"]["n"] for one in case.get("frames", []) if "frame" in one]


# --- sessions -------------------------------------------------------------------------------------


@conversations
def test_a_client_that_hears_the_server_ends_where_it_says(case: dict[str, Any]) -> None:
    """Only what the file has is fed: as an app's own implementation would be tested."""
    subprotocol = case["subprotocol"]
    reader = server_codec(subprotocol)
    client = ClientSession(
        client_codec(subprotocol),
        position=case["start"]["position"],
        digest=bytes.fromhex(case["start"]["digest"]),
    )
    for step in case["steps"]:
        if "close" in step:
            continue
        message = bytes_of(step["message"], subprotocol)
        if step["from"] == "server":
            if "refused" in step:
                with pytest.raises(Malformed):
                    client.receive(message)
                assert step["refused"]["close"] == CloseCode.PROTOCOL
                return
            events = [type(event).__name__ for event in client.receive(message)]
            assert events == step["events"]
        elif case["name"] != "bad client":
            _say(client, [reader.decode_frame(raw) for raw in reader.split(message)])
            assert client.data_to_send() == [message]
        else:
            for frame in step["frames"] or ():
                if frame.get("op") == "hello" and client.state.name == "GREETING":
                    _say(client, [reader.decode_frame(raw) for raw in reader.split(message)])
                    client.data_to_send()
            continue
        assert client.position == step["client"]["position"]
        assert client.digest.hex() == step["client"]["digest"]
        assert client.state.name.lower() == step["client"]["state"]


def _say(client: ClientSession, frames: list[f.ClientFrame]) -> None:
    for frame in frames:
        match frame:
            case f.Hello():
                client.hello(frame)
            case f.Send():
                client.send(frame)
            case f.Ack():
                client.ack(frame)
            case f.Nack():
                client.nack(frame.position, frame.reason)
            case f.Ping():
                client.ping(frame.n)
            case _:
                pass  # a pong, which the session writes by itself


@conversations
def test_every_hello_answers_the_challenge(case: dict[str, Any]) -> None:
    codec = server_codec(case["subprotocol"])
    hello, *_ = [
        frame
        for step in case["steps"]
        if step["from"] == "client" and step["frames"]
        for frame in map(
            codec.decode_frame, codec.split(bytes_of(step["message"], case["subprotocol"]))
        )
        if isinstance(frame, f.Hello)
    ]
    verify_login(
        bytes(w.PHONE_KEY.verify_key),
        hello.signature,
        domain=SESSIONS["challenge"]["domain"],
        nonce=bytes.fromhex(SESSIONS["challenge"]["nonce"]),
        device=DeviceId(bytes.fromhex(SESSIONS["device"]["id"])),
        subprotocol=case["subprotocol"],
    )


def test_the_conversations_show_what_matters() -> None:
    """Each kind of event and each end of a connection is in at least one of them."""
    steps = [step for case in SESSIONS["conversations"] for step in case["steps"]]
    events = {event for step in steps for event in step.get("events", ())}
    assert events == {
        *("Challenged", "Welcomed", "Delivered", "GapSeen", "CaughtUp", "Settled", "RetryWanted"),
        *("StatusChanged", "AckStored", "ErrorTold", "Leaving"),
        *("HelloCame", "SendCame", "AckCame", "NackCame"),
    }
    closes = {step["close"] for step in steps if "close" in step}
    assert closes == {4008, 4030, 4503, 4526}


# --- digests --------------------------------------------------------------------------------------


def test_digests_follow_from_the_rows_alone() -> None:
    """Computed here by the specification's words, not by the code that wrote the file."""
    digest = bytes.fromhex(DIGESTS["empty"])
    for row in DIGESTS["rows"]:
        if "gap" in row:
            data, person = row["gap"].encode(), b"MiSS1 gap"
        else:
            fields = [row["account"].encode()]
            fields += [bytes.fromhex(row[name]) for name in ("device", "id", "body", "wrap")]
            data = b"".join(len(one).to_bytes(4, "big") + one for one in fields)
            person = b"MiSS1 envelope"
        row_hash = blake2b(data, digest_size=32, person=person).digest()
        assert row_hash.hex() == row["hash"]
        rolled = digest + row["position"].to_bytes(8, "big") + row_hash
        digest = blake2b(rolled, digest_size=32, person=b"MiSS1 mailbox").digest()
        assert digest.hex() == row["digest"]


def test_sends_of_the_conversations_are_one_and_the_same_when_repeated() -> None:
    """A retry is byte for byte what it was (rule B2)."""
    for case in SESSIONS["conversations"]:
        sends: dict[int, Any] = {}
        for step in case["steps"]:
            for frame in step.get("frames") or ():
                if frame.get("op") == "send":
                    assert sends.setdefault(frame["sn"], frame) == frame
