"""Names of accounts, devices and messages, and how each is written.

An account's address is opaque and permanent: `<26 letters and digits>@<operator's domain>`. It is
never derived from a key, a register number or a mailbox, so it survives the loss of all of them
(spec 01-overview §3). Devices and messages have 16 random bytes, never parsed out of a ciphertext.
"""

import base64
import re
from typing import NewType

from miss_protocol.errors import Malformed

AccountAddress = NewType("AccountAddress", str)
"""`local@domain`, both lower case."""
DeviceId = NewType("DeviceId", bytes)
"""16 random bytes, chosen by the device at enrolment, never used again after a revocation."""
MessageId = NewType("MessageId", bytes)
"""16 random bytes, chosen by the sender and signed inside the message."""

ID_BYTES = 16

_DOMAIN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
_ADDRESS = re.compile(rf"[a-z2-7]{{26}}@{_DOMAIN}")
_DOMAIN_ONLY = re.compile(_DOMAIN)
ADDRESS_MAX_BYTES = 26 + 1 + 253


def new_address(random16: bytes, domain: str) -> AccountAddress:
    """Write 16 random bytes as an address of `domain`.

    Raises:
        Malformed: `random16` is not 16 bytes, or `domain` is not a lower-case domain name.
    """
    if len(random16) != ID_BYTES:
        raise Malformed("an account id has 16 bytes")
    local = base64.b32encode(random16).decode().rstrip("=").lower()
    return parse_address(f"{local}@{domain}")


def parse_address(text: str) -> AccountAddress:
    """Check that `text` is an address in its one canonical form.

    Raises:
        Malformed: it is not.
    """
    if len(text) > ADDRESS_MAX_BYTES or not _ADDRESS.fullmatch(text):
        raise Malformed("not an account address")
    # 26 base32 digits hold 130 bits: the last two must be zero, or two texts would name one id.
    if text[25] not in "aeimquy4":
        raise Malformed("not an account address in canonical form")
    return AccountAddress(text)


def is_domain(text: str) -> bool:
    """Whether `text` is a lower-case domain name (a single label, as `localhost`, is one)."""
    return len(text) <= 253 and _DOMAIN_ONLY.fullmatch(text) is not None


def device_id(field: bytes) -> DeviceId:
    """Check the length of a device id.

    Raises:
        Malformed: it is not 16 bytes.
    """
    if len(field) != ID_BYTES:
        raise Malformed("a device id has 16 bytes")
    return DeviceId(field)


def message_id(field: bytes) -> MessageId:
    """Check the length of a message id.

    Raises:
        Malformed: it is not 16 bytes.
    """
    if len(field) != ID_BYTES:
        raise Malformed("a message id has 16 bytes")
    return MessageId(field)
