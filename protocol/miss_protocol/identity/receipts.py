"""Receipts: a device's signed word that it has, or showed, a message. Spec: 04-encryption §4."""

from enum import Enum
from typing import Annotated

import msgspec
from nacl.signing import SigningKey

from miss_protocol.encoding import u64
from miss_protocol.errors import Untrusted
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.signing import SIGNATURE_BYTES, Role, sign, verify
from miss_protocol.ids import ID_BYTES, DeviceId, MessageId

_Id = msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)


class ReceiptState(Enum):
    """What the device attests."""

    DELIVERED = "delivered"
    """Decrypted and saved. Always sent."""
    READ = "read"
    """Shown to its user. Sent if the user chose so."""


class Receipt(
    msgspec.Struct,
    frozen=True,
    rename={
        "message": "id",
        "sender_device": "from",
        "recipient_device": "to",
        "at_ms": "at",
        "signature": "sig",
    },
):
    """Evidence that rides with an `ack` and on to the sender.

    Attributes:
        message: the signed id inside the message, 16 bytes.
        sender_device: the device that sent the message, 16 bytes.
        recipient_device: the device that signs, 16 bytes.
        state: what is attested.
        at_ms: Unix milliseconds by the recipient's clock.
        signature: 64 bytes, role RECEIPT.
    """

    message: Annotated[MessageId, _Id]
    sender_device: Annotated[DeviceId, _Id]
    recipient_device: Annotated[DeviceId, _Id]
    state: ReceiptState
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    signature: Annotated[
        bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)
    ]


def sign_receipt(
    key: SigningKey,
    *,
    message: MessageId,
    sender_device: DeviceId,
    recipient_device: DeviceId,
    state: ReceiptState,
    at_ms: int,
) -> Receipt:
    """Sign a receipt with the recipient device's key, after the message is saved."""
    signature = sign(
        key, Role.RECEIPT, *_fields(message, sender_device, recipient_device, state, at_ms)
    )
    return Receipt(message, sender_device, recipient_device, state, at_ms, signature)


def verify_receipt(receipt: Receipt, certificate: DeviceCertificate) -> None:
    """Check a receipt against the certificate of the device that it names.

    Args:
        certificate: listed by the roster of an account that the message was for. That the
            message went to this device, and from `sender_device`, is the caller's to compare.

    Raises:
        Untrusted: another device's certificate, or the signature does not hold.
    """
    if receipt.recipient_device != certificate.device:
        raise Untrusted("a receipt of another device")
    verify(
        certificate.signing_key,
        receipt.signature,
        Role.RECEIPT,
        *_fields(
            receipt.message,
            receipt.sender_device,
            receipt.recipient_device,
            receipt.state,
            receipt.at_ms,
        ),
    )


def _fields(
    message: MessageId, sender: DeviceId, recipient: DeviceId, state: ReceiptState, at_ms: int
) -> tuple[bytes, ...]:
    return (message, sender, recipient, state.value.encode(), u64(at_ms))
