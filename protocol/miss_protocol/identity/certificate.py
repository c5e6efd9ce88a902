"""A device's certificate: its keys, and the proof that it holds them. Spec: 04-encryption §3."""

from dataclasses import dataclass
from functools import cached_property

from nacl.signing import SigningKey

from miss_protocol.encoding import fixed, pack, read_text, read_u64, u64, unpack_exactly
from miss_protocol.errors import Malformed
from miss_protocol.identity.agreement import check_agreement_key
from miss_protocol.identity.digests import SUITE, digest
from miss_protocol.identity.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Role,
    sign,
    verify,
)
from miss_protocol.ids import (
    ADDRESS_MAX_BYTES,
    AccountAddress,
    DeviceId,
    device_id,
    parse_address,
)


@dataclass(frozen=True)
class DeviceCertificate:
    """The public keys of one device, signed with that device's own key.

    The signature proves possession: nobody can list another's key as their own. It vouches for
    nothing else: a device belongs to an account only if the account's roster lists it. Obtain one
    from `issue` or `decode`, which check it; the constructor does not.

    Attributes:
        account: whose device it says it is.
        device: 16 bytes.
        signing_key: Ed25519, 32 bytes.
        olm_key: X25519 identity key of the Olm account, 32 bytes.
        created_ms: Unix milliseconds by the device's clock; information only.
        signature: 64 bytes, role DEVICE.
    """

    account: AccountAddress
    device: DeviceId
    signing_key: bytes
    olm_key: bytes
    created_ms: int
    signature: bytes

    def encode(self) -> bytes:
        """Write the certificate in its one canonical form; `decode` reads it."""
        return pack(*self._signed_fields(), self.signature)

    @cached_property
    def id(self) -> bytes:
        """32 bytes that name this certificate: BLAKE2b-256 of the signed fields."""
        return digest(b"MiSS/1 device", *self._signed_fields())

    def _signed_fields(self) -> tuple[bytes, ...]:
        return (
            SUITE,
            self.account.encode(),
            self.device,
            self.signing_key,
            self.olm_key,
            u64(self.created_ms),
        )


def issue(
    key: SigningKey, account: AccountAddress, device: DeviceId, olm_key: bytes, created_ms: int
) -> DeviceCertificate:
    """Certify this device's keys with its own signing key.

    Next: the account's roster must list it (`roster.found` or `roster.succeed`).

    Raises:
        Malformed, Untrusted: an id or the Olm key is not one.
    """
    unsigned = DeviceCertificate(
        account=account,
        device=device,
        signing_key=bytes(key.verify_key),
        olm_key=olm_key,
        created_ms=created_ms,
        signature=b"",
    )
    signature = sign(key, Role.DEVICE, *unsigned._signed_fields())
    return decode(pack(*unsigned._signed_fields(), signature))


def decode(data: bytes) -> DeviceCertificate:
    """Read a certificate and check its signature.

    Raises:
        Malformed: not the canonical encoding of a certificate, or of another suite.
        Untrusted: the signature does not hold, or a key is of small order.
    """
    suite, account, device, signing_key, olm_key, created, signature = unpack_exactly(data, 7)
    if suite != SUITE:
        raise Malformed("a certificate of another suite")
    certificate = DeviceCertificate(
        account=parse_address(read_text(account, limit=ADDRESS_MAX_BYTES)),
        device=device_id(device),
        signing_key=fixed(signing_key, PUBLIC_KEY_BYTES),
        olm_key=check_agreement_key(olm_key),
        created_ms=read_u64(created),
        signature=fixed(signature, SIGNATURE_BYTES),
    )
    verify(signing_key, signature, Role.DEVICE, *certificate._signed_fields())
    return certificate
