"""Prekeys: what a device leaves on the server so that others can write first.

One object holds both halves, classical and post-quantum, under one signature, so that a server
can neither strip the post-quantum half nor pair halves of its choice. Spec: 04-encryption §5.
"""

from dataclasses import dataclass

from nacl.signing import SigningKey

from miss_protocol.encoding import fixed, pack, read_u64, u64, unpack_exactly
from miss_protocol.errors import Malformed, Untrusted
from miss_protocol.identity.agreement import AGREEMENT_KEY_BYTES, check_agreement_key
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import SUITE
from miss_protocol.identity.signing import SIGNATURE_BYTES, Role, sign, verify
from miss_protocol.ids import DeviceId, device_id

MLKEM768_PUBLIC_BYTES = 1184
XWING_PUBLIC_BYTES = MLKEM768_PUBLIC_BYTES + AGREEMENT_KEY_BYTES
"""ML-KEM-768 key ‖ X25519 key (draft-connolly-cfrg-xwing-kem §5.2)."""

_ONE_TIME, _LAST_RESORT = b"\0", b"\1"


@dataclass(frozen=True)
class SignedPrekey:
    """A pair of public keys for one first message (or, as last resort, for several).

    Attributes:
        device: whose it is, 16 bytes.
        id: u64, growing with every prekey of the device, of either kind.
        otk: Olm one-time key, or fallback key if `last_resort`; X25519, 32 bytes.
        pq: X-Wing public key, 1216 bytes.
        last_resort: given out when no one-time prekey is left; replaced weekly.
        signature: 64 bytes, role PREKEY or LAST_RESORT.
    """

    device: DeviceId
    id: int
    otk: bytes
    pq: bytes
    last_resort: bool
    signature: bytes

    def encode(self) -> bytes:
        """Write the prekey in its one canonical form; `decode` reads it."""
        kind = _LAST_RESORT if self.last_resort else _ONE_TIME
        return pack(kind, *self._signed_fields(), self.signature)

    def verify(self, certificate: DeviceCertificate) -> None:
        """Check that the device of `certificate` made this prekey and that its keys are sound.

        `certificate` must be one that the account's roster lists.

        Raises:
            Untrusted: another device, a broken signature, a missing or short post-quantum key
                (there is no classical fallback), or a key of small order.
        """
        if self.device != certificate.device:
            raise Untrusted("a prekey of another device")
        if len(self.pq) != XWING_PUBLIC_BYTES or len(self.otk) != AGREEMENT_KEY_BYTES:
            raise Untrusted("a prekey without its post-quantum or its classical half")
        verify(certificate.signing_key, self.signature, self._role, *self._signed_fields())
        check_agreement_key(self.otk)
        check_agreement_key(self.pq[MLKEM768_PUBLIC_BYTES:])

    @property
    def _role(self) -> Role:
        return Role.LAST_RESORT if self.last_resort else Role.PREKEY

    def _signed_fields(self) -> tuple[bytes, ...]:
        return (SUITE, self.device, u64(self.id), self.otk, self.pq)


def issue(
    key: SigningKey,
    device: DeviceId,
    id: int,
    otk: bytes,
    pq: bytes,
    *,
    last_resort: bool,
) -> SignedPrekey:
    """Sign one pair of public keys for uploading. Arguments as the fields of `SignedPrekey`."""
    unsigned = SignedPrekey(device, id, otk, pq, last_resort, b"")
    signature = sign(key, unsigned._role, *unsigned._signed_fields())
    return SignedPrekey(device, id, otk, pq, last_resort, signature)


def decode(data: bytes) -> SignedPrekey:
    """Read a prekey. Its signature is not yet checked: call `SignedPrekey.verify` next.

    Raises:
        Malformed: not the canonical encoding of a prekey, or of another suite.
    """
    kind, suite, device, number, otk, pq, signature = unpack_exactly(data, 7)
    if suite != SUITE:
        raise Malformed("a prekey of another suite")
    if kind not in (_ONE_TIME, _LAST_RESORT):
        raise Malformed("neither a one-time nor a last-resort prekey")
    return SignedPrekey(
        device=device_id(device),
        id=read_u64(number),
        otk=fixed(otk, AGREEMENT_KEY_BYTES),
        pq=fixed(pq, XWING_PUBLIC_BYTES),
        last_resort=kind == _LAST_RESORT,
        signature=fixed(signature, SIGNATURE_BYTES),
    )
