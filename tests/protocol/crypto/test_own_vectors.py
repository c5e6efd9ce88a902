"""The published vectors and the code say the same, in both directions where both exist."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from miss_protocol import content as contents
from miss_protocol.content import Text
from miss_protocol.crypto import body as bodies
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.errors import Malformed, MissError, Undecryptable, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import message as inner
from miss_protocol.identity import prekeys
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.link import matches
from miss_protocol.identity.receipts import Receipt, ReceiptState, verify_receipt
from miss_protocol.identity.safety import safety_number
from miss_protocol.ids import DeviceId, MessageId
from tests.support.make_vectors import ABOUT, DETERMINED, FOLDER, NOW, RECORDED, hexed
from tests.support.record_sessions import opening_stages

ERRORS: dict[str, type[MissError]] = {
    "malformed": Malformed,
    "untrusted": Untrusted,
    "undecryptable": Undecryptable,
}


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def h(text: str) -> bytes:
    return bytes.fromhex(text)


@dataclass
class Replay:
    """A receiver in its recorded state."""

    case: Any

    def __post_init__(self) -> None:
        items = {name: h(item) for name, item in self.case["state"].items()}
        self.receiver = Endpoint.load(items, random=os.urandom)
        self.sender = certificates.decode(h(self.case["sender"]))

    def check(self, step: Any) -> dict[str, Any]:
        opened = self.receiver.open(self.sender, h(step["body"]), h(step["wrap"]), now_ms=NOW)
        assert isinstance(opened.content, Text)
        assert opened.content.text == step["text"]
        assert opened.message.encode().hex() == step["inner"]
        return {"order": opened.order.value, "missing": opened.missing}


@pytest.mark.parametrize("name", DETERMINED)
def test_what_the_protocol_determines_comes_out_again(name: str) -> None:
    assert load(name) == {"about": ABOUT} | hexed(DETERMINED[name]())


def test_every_file_is_known() -> None:
    ours = {path.stem for path in Path(FOLDER).glob("*.json") if _is_ours(path)}
    assert ours == set(DETERMINED) | set(RECORDED)


def _is_ours(path: Path) -> bool:
    return bool(json.loads(path.read_text(encoding="utf-8")).get("about") == ABOUT)


def test_certificates() -> None:
    vectors = load("certificates")
    for case in vectors["valid"]:
        certificate = certificates.decode(h(case["encoded"]))
        assert certificate.id.hex() == case["id"]
        assert certificate.device == h(case["device"])
        assert matches(case["approval_code"], certificate)
    for case in vectors["invalid"]:
        with pytest.raises(ERRORS[case["error"]]):
            certificates.decode(h(case["encoded"]))


def test_rosters() -> None:
    vectors = load("rosters")
    chain = [h(case["encoded"]) for case in vectors["valid"]]
    newest = rosters.verify_chain(chain, account=vectors["account"], known=None)
    assert newest.hash.hex() == vectors["valid"][-1]["hash"]
    assert newest.genesis.hex() == vectors["genesis"]
    for case in vectors["invalid"]:
        known = rosters.decode(chain[case["known"] - 1]) if case["known"] else None
        with pytest.raises(Untrusted):
            rosters.verify_chain(
                [h(blob) for blob in case["chain"]], account=vectors["account"], known=known
            )


def test_bundles() -> None:
    vectors = load("bundles")
    certificate = certificates.decode(h(vectors["certificate"]))
    for case in vectors["valid"]:
        prekey = prekeys.decode(h(case["encoded"]))
        prekey.verify(certificate)
        assert (prekey.id, prekey.last_resort) == (case["id"], case["last_resort"])
    for case in vectors["invalid"]:
        with pytest.raises(ERRORS[case["error"]]):
            prekeys.decode(h(case["encoded"])).verify(certificate)


def test_receipts() -> None:
    vectors = load("receipts")
    certificate = certificates.decode(h(vectors["certificate"]))
    for case in vectors["valid"]:
        receipt = Receipt(
            MessageId(h(case["message"])),
            DeviceId(h(case["sender_device"])),
            DeviceId(h(case["recipient_device"])),
            ReceiptState(case["state"]),
            case["at_ms"],
            h(case["signature"]),
        )
        verify_receipt(receipt, certificate)


def test_safety_numbers() -> None:
    for case in load("safety")["valid"]:
        assert safety_number(h(case["one"]), h(case["other"])) == case["number"]


def test_bodies() -> None:
    vectors = load("bodies")
    certificate = certificates.decode(h(vectors["certificate"]))
    for case in vectors["valid"]:
        opened = bodies.unseal(
            h(case["body"]), MessageId(h(case["message"])), content_key=h(case["content_key"])
        )
        assert opened.hex() == case["inner"]
        message = inner.decode(opened)
        message.verify(certificate)
        content = contents.decode(message.content)
        assert isinstance(content, contents.Text)
        assert content.text == case["text"]
        assert content.original == (h(case["original"]) if "original" in case else None)
    first = vectors["valid"][0]
    for case in vectors["invalid"]:
        with pytest.raises(Undecryptable):
            bodies.unseal(
                h(case["encoded"]),
                MessageId(h(first["message"])),
                content_key=h(first["content_key"]),
            )


@pytest.mark.parametrize("number", [0, 1])
def test_handshakes_replay_on_the_receiving_side(number: int) -> None:
    case = load("handshakes")["valid"][number]
    replay = Replay(case)
    prekey = prekeys.decode(h(case["prekey"]))
    prekey.verify(replay.receiver.certificate)
    stages = opening_stages(
        replay.sender,
        replay.receiver.certificate,
        prekey,
        h(case["xwing_seed"]),
        h(case["wrap"]),
    )
    for stage, value in hexed(stages).items():
        assert case[stage] == value, stage
    assert replay.check(case) == {"order": "next", "missing": 0}
    with pytest.raises(Undecryptable):
        replay.check(case)


def test_wraps_replay_in_their_order() -> None:
    case = load("wraps")
    replay = Replay(case)
    for step in case["valid"]:
        assert replay.check(step) == {"order": step["order"], "missing": step["missing"]}
        peer = replay.receiver._peers.find(replay.sender)
        assert peer is not None
        assert peer.received.count == step["pair_count_after"]
        assert peer.received.link.hex() == step["pair_link_after"]
    for step in case["invalid"]:
        with pytest.raises(Undecryptable):
            replay.receiver.open(replay.sender, h(step["body"]), h(step["wrap"]), now_ms=NOW)
