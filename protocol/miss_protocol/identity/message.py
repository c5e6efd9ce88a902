"""The inner message: what the sender signs, and its recipients read. Spec: 04-encryption §9.

Fields, each length-prefixed: version 0x01, suite, message id, conversation id, sender's
certificate id, time, recipient accounts, content, log head; then the signature over all before
it, role MESSAGE. With the sender's certificate and roster chain it proves to a third party who
said what to whom: showing it is how a message is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nacl.signing import SigningKey

from miss_protocol.encoding import (
    fixed,
    pack,
    pack_all,
    read_text,
    read_u64,
    u64,
    unpack,
    unpack_exactly,
)
from miss_protocol.errors import Malformed, Untrusted
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import DIGEST_BYTES, SUITE
from miss_protocol.identity.roster import Roster
from miss_protocol.identity.signing import SIGNATURE_BYTES, Role, sign, verify
from miss_protocol.ids import (
    ADDRESS_MAX_BYTES,
    ID_BYTES,
    AccountAddress,
    MessageId,
    message_id,
    parse_address,
)
from miss_protocol.limits import RECIPIENT_ACCOUNTS_MAX

VERSION = b"\x01"
CONVERSATION_BYTES = ID_BYTES
LOG_HEAD_MAX = 128
"""Room for the head of a verifiable directory's log: size, root hash, and a little more."""


@dataclass(frozen=True)
class Recipient:
    """An account that the message is for, with the roster by which its devices were chosen."""

    account: AccountAddress
    version: int
    roster_hash: bytes

    @classmethod
    def of(cls, roster: Roster) -> "Recipient":
        """The account of a verified roster, at that version."""
        return cls(roster.account, roster.version, roster.hash)


@dataclass(frozen=True, repr=False)
class InnerMessage:
    """A signed message.

    Attributes:
        id: 16 random bytes; another one when it is encrypted anew for a device that could not open
            it, whose `content` then names the first (`Content.original`).
        conversation: 16 bytes.
        sender: certificate id of the sending device, 32 bytes.
        sent_ms: Unix milliseconds by the sender's clock.
        recipients: sorted by account.
        content: encoded (`content.decode` reads it).
        log_head: empty, or the directory log's head as the sender saw it.
        signature: 64 bytes.
    """

    id: MessageId
    conversation: bytes
    sender: bytes
    sent_ms: int
    recipients: tuple[Recipient, ...]
    content: bytes
    log_head: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Write the message in its one form: what a report shows."""
        return pack(*self._signed_fields(), self.signature)

    def verify(self, certificate: DeviceCertificate) -> None:
        """Check that the device of `certificate` signed this message as its own.

        Raises:
            Untrusted: another device is named as the sender, or the signature does not hold.
        """
        if self.sender != certificate.id:
            raise Untrusted("a message that names another sender")
        verify(certificate.signing_key, self.signature, Role.MESSAGE, *self._signed_fields())

    def is_for(self, account: AccountAddress) -> bool:
        """Whether `account` is among the recipients that the sender signed."""
        return any(recipient.account == account for recipient in self.recipients)

    def _signed_fields(self) -> tuple[bytes, ...]:
        return (
            VERSION,
            SUITE,
            self.id,
            self.conversation,
            self.sender,
            u64(self.sent_ms),
            pack_all(
                pack(one.account.encode(), u64(one.version), one.roster_hash)
                for one in self.recipients
            ),
            self.content,
            self.log_head,
        )


def compose(
    key: SigningKey,
    sender: DeviceCertificate,
    *,
    message: MessageId,
    conversation: bytes,
    sent_ms: int,
    recipients: Sequence[Recipient],
    content: bytes,
    log_head: bytes,
) -> InnerMessage:
    """Sign a message; the fields are those of `InnerMessage`, the recipients in any order.

    Raises:
        Malformed: a field that no receiver would accept.
    """
    unsigned = InnerMessage(
        message,
        conversation,
        sender.id,
        sent_ms,
        tuple(sorted(recipients, key=lambda recipient: recipient.account)),
        content,
        log_head,
        b"",
    )
    signature = sign(key, Role.MESSAGE, *unsigned._signed_fields())
    return decode(pack(*unsigned._signed_fields(), signature))


def decode(data: bytes) -> InnerMessage:
    """Read a message. Its signature is not yet checked: call `InnerMessage.verify` next.

    Raises:
        Malformed: not the encoding of an inner message of this version.
    """
    fields = unpack_exactly(data, 10)
    version, suite, message, conversation, sender, sent, recipients = fields[:7]
    content, log_head, signature = fields[7:]
    if version != VERSION or suite != SUITE:
        raise Malformed("an inner message of another version or suite")
    if len(log_head) > LOG_HEAD_MAX:
        raise Malformed("a log head that is too long")
    return InnerMessage(
        id=message_id(message),
        conversation=fixed(conversation, CONVERSATION_BYTES),
        sender=fixed(sender, DIGEST_BYTES),
        sent_ms=read_u64(sent),
        recipients=_decode_recipients(recipients),
        content=content,
        log_head=log_head,
        signature=fixed(signature, SIGNATURE_BYTES),
    )


def _decode_recipients(data: bytes) -> tuple[Recipient, ...]:
    fields = unpack(data)
    if not 1 <= len(fields) <= RECIPIENT_ACCOUNTS_MAX:
        raise Malformed("no recipient, or too many")
    recipients = tuple(_decode_recipient(field) for field in fields)
    if any(one.account >= other.account for one, other in pairwise(recipients)):
        raise Malformed("recipients out of order, or one twice")
    return recipients


def _decode_recipient(data: bytes) -> Recipient:
    account, version, roster_hash = unpack_exactly(data, 3)
    return Recipient(
        parse_address(read_text(account, limit=ADDRESS_MAX_BYTES)),
        read_u64(version),
        fixed(roster_hash, DIGEST_BYTES),
    )
