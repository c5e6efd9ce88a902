"""The parameters of signed HTTP requests."""

import pytest

from miss_protocol import http_signature
from miss_protocol.errors import Malformed
from miss_protocol.ids import DeviceId

DEVICE = DeviceId(bytes(range(0xF0, 0x100)))
WRITTEN = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"


def test_a_key_id_is_the_device_in_hexadecimal() -> None:
    assert http_signature.key_id(DEVICE) == WRITTEN
    assert http_signature.device_of(WRITTEN) == DEVICE


@pytest.mark.parametrize(
    "text",
    ["", WRITTEN[:-2], WRITTEN + "00", WRITTEN.upper(), WRITTEN[:-1] + "g", " " + WRITTEN[1:]]
    + [WRITTEN[:10] + "zz" + WRITTEN[12:], "٠" * 32],
)
def test_a_device_has_one_key_id_only(text: str) -> None:
    with pytest.raises(Malformed):
        http_signature.device_of(text)


def test_a_signature_covers_all_that_a_request_asks_for() -> None:
    covered = set(http_signature.COVERED)
    assert covered == {"@method", "@authority", "@path", "@query", "content-digest"}
