"""Login: a device proves its key over the server's nonce. Spec: 04-encryption §4, 03-session §2."""

from nacl.signing import SigningKey

from miss_protocol.encoding import fixed
from miss_protocol.identity.signing import Role, sign, verify
from miss_protocol.ids import DeviceId, device_id
from miss_protocol.limits import NONCE_BYTES


def sign_login(
    key: SigningKey, *, domain: str, nonce: bytes, device: DeviceId, subprotocol: str
) -> bytes:
    """Answer a challenge; 64 bytes.

    The domain that the client dialled is signed, so a server in the middle cannot relay another
    server's challenge; the subprotocol, so it cannot move the client to another encoding.

    Args:
        domain: the operator's domain as the client knows it, not as the server told it.
        nonce: 32 bytes of the challenge.
        subprotocol: the one agreed in the WebSocket handshake.

    Raises:
        Malformed: the nonce or the device id has the wrong length.
    """
    return sign(key, Role.LOGIN, *_fields(domain, nonce, device, subprotocol))


def verify_login(
    public: bytes,
    signature: bytes,
    *,
    domain: str,
    nonce: bytes,
    device: DeviceId,
    subprotocol: str,
) -> None:
    """Check what `sign_login` made. The nonce must be this connection's and used once.

    Raises:
        Malformed: the nonce or the device id has the wrong length.
        Untrusted: the signature does not hold.
    """
    verify(public, signature, Role.LOGIN, *_fields(domain, nonce, device, subprotocol))


def _fields(domain: str, nonce: bytes, device: DeviceId, subprotocol: str) -> tuple[bytes, ...]:
    return (
        domain.encode(),
        fixed(nonce, NONCE_BYTES),
        device_id(device),
        subprotocol.encode(),
    )
