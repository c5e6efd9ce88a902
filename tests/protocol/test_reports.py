"""What must hold of a message that somebody reports: the vectors, as a server judges them."""

import json
from typing import Any

import msgspec
import pytest

from miss_protocol.errors import Malformed, RemoteError
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.message import InnerMessage
from miss_protocol.ids import AccountAddress
from miss_protocol.reports import ReportMade, check_signer, read
from tests.support.make_vectors import FOLDER

VECTORS: dict[str, Any] = json.loads((FOLDER / "reports.json").read_text("utf-8"))
CHAIN = [bytes.fromhex(one) for one in VECTORS["rosters"]]
LISTED: dict[bytes, DeviceCertificate] = {
    entry.device: entry.certificate for blob in CHAIN for entry in rosters.decode(blob).entries
}
REVOKED = {bytes.fromhex(one["device"]): one["at_ms"] for one in VECTORS["revoked"]}


def judge(case: Any) -> InnerMessage:
    """As a server that holds the vectors' rosters."""
    try:
        made = msgspec.json.decode(case["body"], type=ReportMade)
    except msgspec.MsgspecError:
        raise Malformed from None
    message = read(made, AccountAddress(VECTORS["reporter"]), now_ms=case["now_ms"])
    check_signer(made, message, LISTED[made.device], revoked_ms=REVOKED.get(made.device))
    return message


def test_the_chain_holds_and_has_removed_the_device() -> None:
    newest = rosters.verify_chain(CHAIN, account=AccountAddress(VECTORS["account"]), known=None)
    assert [gone.device for gone in newest.revoked] == list(REVOKED)


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["why"])
def test_what_holds_is_taken(case: Any) -> None:
    assert judge(case).is_for(AccountAddress(VECTORS["reporter"]))


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["why"])
def test_what_does_not_is_refused_with_a_code(case: Any) -> None:
    with pytest.raises(RemoteError) as refused:
        judge(case)
    assert refused.value.code.wire == case["error"]
