"""The classical half: Olm's 3DH and double ratchet, by vodozemac. Spec: 04-encryption §6.

The only file that knows the library, and the only one whose randomness is not passed in: Olm
accounts and sessions draw their own from the operating system. Source: the Olm specification
(https://gitlab.matrix.org/matrix-org/olm/-/blob/master/docs/olm.md).
"""

from typing import cast

import vodozemac as vz

from miss_protocol.encoding import pack, unpack_exactly
from miss_protocol.errors import Undecryptable, Untrusted

PICKLE_KEY_BYTES = 32
PRE_KEY, NORMAL = 0, 1
"""Kinds of Olm messages: until the first answer each carries what starts the session."""
BATCH_MAX = 50
"""One-time keys that vodozemac makes at once."""


class OlmSession:
    """One Olm session. Its state changes only by a success."""

    def __init__(self, session: vz.Session) -> None:
        self._session = session

    def encrypt(self, plaintext: bytes) -> tuple[int, bytes]:
        """The kind (`PRE_KEY` or `NORMAL`) and the Olm message."""
        return self._session.encrypt(plaintext).to_parts()

    def decrypt(self, kind: int, message: bytes) -> bytes:
        """Open the peer's Olm message.

        Raises:
            Undecryptable: for any cause.
        """
        try:
            return self._session.decrypt(vz.AnyOlmMessage.from_parts(kind, message))
        except ValueError:
            raise Undecryptable from None

    def save(self, pickle_key: bytes) -> bytes:
        """Write the session for the state at rest; it is secret, the key rides along.

        `pickle_key` must be fresh: pickles are deterministic, and two under one key would show
        what changed between them.
        """
        return pack(pickle_key, self._session.pickle(pickle_key).encode())

    @classmethod
    def load(cls, data: bytes) -> "OlmSession":
        """Read what `save` wrote.

        Raises:
            Malformed, ValueError: it is not that.
        """
        key, pickle = unpack_exactly(data, 2)
        return cls(vz.Session.from_pickle(pickle.decode(), key))


class OlmAccount:
    """A device's Olm identity and the private halves of its prekeys."""

    def __init__(self, account: vz.Account | None = None) -> None:
        self._account = account or vz.Account()

    @property
    def identity_key(self) -> bytes:
        """X25519, 32 bytes: goes into the device certificate."""
        return self._account.curve25519_key.to_bytes()

    def new_one_time_keys(self, count: int) -> list[bytes]:
        """Make `count` one-time keys, at most `BATCH_MAX`; their public halves."""
        self._account.generate_one_time_keys(count)
        keys = [key.to_bytes() for key in self._account.one_time_keys.values()]
        self._account.mark_keys_as_published()
        return keys

    def new_fallback_key(self) -> bytes:
        """Make a fallback key; the one before it stays usable, the one before that is gone."""
        self._account.generate_fallback_key()  # type: ignore[attr-defined]  # not in 0.10's stubs
        (key,) = self._account.fallback_key.values()  # type: ignore[attr-defined]  # as above
        self._account.mark_keys_as_published()
        public: bytes = key.to_bytes()
        return public

    def start(self, identity_key: bytes, prekey: bytes) -> OlmSession:
        """Start a session towards a peer's identity key and one-time or fallback key.

        Raises:
            Untrusted: a key of small order.
        """
        try:
            session = self._account.create_outbound_session(
                vz.Curve25519PublicKey.from_bytes(identity_key),
                vz.Curve25519PublicKey.from_bytes(prekey),
            )
        except ValueError:
            raise Untrusted("an Olm key that cannot be used") from None
        return OlmSession(session)

    def accept(self, identity_key: bytes, message: bytes) -> tuple[OlmSession, bytes]:
        """Start the session that a peer's pre-key message begins; also its plaintext.

        A one-time key is gone after this succeeded.

        Raises:
            Undecryptable: for any cause, another identity key among them.
        """
        try:
            # Of this kind, a message that parses is a pre-key message.
            opening = cast(
                vz.PreKeyMessage, vz.AnyOlmMessage.from_parts(PRE_KEY, message).to_pre_key()
            )
            session, plaintext = self._account.create_inbound_session(
                vz.Curve25519PublicKey.from_bytes(identity_key), opening
            )
        except ValueError:
            raise Undecryptable from None
        return OlmSession(session), plaintext

    def save(self, pickle_key: bytes) -> bytes:
        """As `OlmSession.save`."""
        return pack(pickle_key, self._account.pickle(pickle_key).encode())

    @classmethod
    def load(cls, data: bytes) -> "OlmAccount":
        """As `OlmSession.load`."""
        key, pickle = unpack_exactly(data, 2)
        return cls(vz.Account.from_pickle(pickle.decode(), key))
