"""How HTTP calls are signed with the device key: RFC 9421 with Ed25519 (rule B3, spec 02-wire §5).

The parameters stand here for both ends; `http-message-signatures` does the work in each. A
signature covers the method, the authority, the path, the query and the digest of the body, and
carries its time and a nonce, so a captured request is of no use a second time or elsewhere.
"""

from miss_protocol.errors import Malformed
from miss_protocol.ids import DeviceId, device_id

COVERED = ("@method", "@authority", "@path", "@query", "content-digest")
"""Components that a signature must cover; `content-digest` (RFC 9530) also of an empty body."""
LABEL = "miss"
TAG = "miss-v1"
"""The application tag: a signature made for something else is not one of ours."""
ALGORITHM = "ed25519"


def key_id(device: DeviceId) -> str:
    """The `keyid` parameter of a device: its id in hexadecimal."""
    return device.hex()


def device_of(keyid: str) -> DeviceId:
    """Read a `keyid` parameter.

    Raises:
        Malformed: not 32 lower-case hexadecimal digits.
    """
    if len(keyid) != 32 or keyid.strip("0123456789abcdef"):
        raise Malformed("keyid is not a device id")
    return device_id(bytes.fromhex(keyid))
