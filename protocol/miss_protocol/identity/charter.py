"""Accepting the operator's charter, with a signature. Spec: 04-encryption §4."""

import hashlib
from dataclasses import dataclass

from nacl.signing import SigningKey

from miss_protocol.encoding import fixed, pack, read_text, read_u64, u64, unpack_exactly
from miss_protocol.errors import Untrusted
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import DIGEST_BYTES
from miss_protocol.identity.signing import SIGNATURE_BYTES, Role, sign, verify
from miss_protocol.ids import (
    ADDRESS_MAX_BYTES,
    AccountAddress,
    DeviceId,
    device_id,
    parse_address,
)

VERSION_MAX_BYTES = 64
"""Enough for a date and a word; it is shown in one line."""


@dataclass(frozen=True)
class CharterAcceptance:
    """A device's word, for its account, that its user accepted one text of the charter.

    Attributes:
        account: on whose behalf.
        device: which device signed, 16 bytes.
        version: of the charter, as its operator names it, at most 64 bytes.
        text_hash: SHA-256 of the text that was shown (`charter_hash`), 32 bytes.
        at_ms: Unix milliseconds by the device's clock.
        signature: 64 bytes, role CHARTER.
    """

    account: AccountAddress
    device: DeviceId
    version: str
    text_hash: bytes
    at_ms: int
    signature: bytes

    def encode(self) -> bytes:
        """Write the acceptance in its one canonical form; `decode` reads it."""
        return pack(*self._signed_fields(), self.signature)

    def verify(self, certificate: DeviceCertificate) -> None:
        """Check that the device of `certificate` signed this for its own account.

        Raises:
            Untrusted: another device or account, or the signature does not hold.
        """
        if (self.account, self.device) != (certificate.account, certificate.device):
            raise Untrusted("an acceptance by another device")
        verify(certificate.signing_key, self.signature, Role.CHARTER, *self._signed_fields())

    def _signed_fields(self) -> tuple[bytes, ...]:
        return (
            self.account.encode(),
            self.device,
            self.version.encode(),
            self.text_hash,
            u64(self.at_ms),
        )


def charter_hash(text: str) -> bytes:
    """SHA-256 of the charter's text in UTF-8, exactly as shown."""
    return hashlib.sha256(text.encode()).digest()


def accept(
    key: SigningKey,
    certificate: DeviceCertificate,
    *,
    version: str,
    text_hash: bytes,
    at_ms: int,
) -> CharterAcceptance:
    """Sign the acceptance of a charter that the user was shown.

    Args:
        text_hash: `charter_hash` of the shown text, never a hash that the server told.
    """
    unsigned = CharterAcceptance(
        certificate.account, certificate.device, version, fixed(text_hash, DIGEST_BYTES), at_ms, b""
    )
    signature = sign(key, Role.CHARTER, *unsigned._signed_fields())
    return CharterAcceptance(
        certificate.account, certificate.device, version, text_hash, at_ms, signature
    )


def decode(data: bytes) -> CharterAcceptance:
    """Read an acceptance. Its signature is not yet checked: call `CharterAcceptance.verify`.

    Raises:
        Malformed: not the canonical encoding of an acceptance.
    """
    account, device, version, text_hash, at, signature = unpack_exactly(data, 6)
    return CharterAcceptance(
        account=parse_address(read_text(account, limit=ADDRESS_MAX_BYTES)),
        device=device_id(device),
        version=read_text(version, limit=VERSION_MAX_BYTES),
        text_hash=fixed(text_hash, DIGEST_BYTES),
        at_ms=read_u64(at),
        signature=fixed(signature, SIGNATURE_BYTES),
    )
