"""The other devices: sessions with each, and the pair chains. Spec: 04-encryption §7, §9.

Items in the state at rest: `peer/<device id>` and `session/<session id>`, ids in hexadecimal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from miss_protocol.crypto.olm import PICKLE_KEY_BYTES
from miss_protocol.crypto.pair import Received, Sent
from miss_protocol.crypto.session import Session
from miss_protocol.encoding import pack, unpack_exactly
from miss_protocol.errors import Untrusted
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.ids import DeviceId, device_id
from miss_protocol.limits import RECEIVE_SESSIONS_MAX


@dataclass
class Peer:
    """One other device.

    Attributes:
        certificate: id of its certificate, 32 bytes; it never changes for a device id.
        sent, received: the two directions of the pair chain.
        sessions: by session id.
    """

    certificate: bytes
    sent: Sent = field(default_factory=Sent)
    received: Received = field(default_factory=Received)
    sessions: dict[bytes, Session] = field(default_factory=dict)

    def sending(self, now_ms: int) -> Session | None:
        """The session to send on: of the fresh ones the one last started or received on.

        After simultaneous starts both ends follow what they receive, and agree after the first
        message that does not cross another.
        """
        fresh = [session for session in self.sessions.values() if session.fresh(now_ms)]
        return max(fresh, key=lambda session: session.stamp, default=None)


class Peers:
    """All peers. `changed` names the items to save; whoever saves them clears it."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.changed: set[str] = set()
        self._random = random
        self._peers: dict[DeviceId, Peer] = {}
        self._sessions: dict[bytes, Session] = {}
        self._stamp = 0

    @classmethod
    def load(cls, items: Mapping[str, bytes], *, random: Callable[[int], bytes]) -> "Peers":
        """Read the items of this file's kinds; others are left alone.

        Raises:
            KeyError, ValueError, Malformed: they are incomplete or damaged.
        """
        peers = cls(random)
        by_certificate: dict[bytes, Peer] = {}
        for name, item in items.items():
            kind, _, rest = name.partition("/")
            if kind == "peer":
                certificate, sent, received = unpack_exactly(item, 3)
                peer = Peer(certificate, Sent.decode(sent), Received.decode(received))
                peers._peers[device_id(bytes.fromhex(rest))] = peer
                by_certificate[certificate] = peer
        for name, item in items.items():
            if name.startswith("session/"):
                session = Session.decode(item)
                by_certificate[session.peer].sessions[session.id] = session
                peers._sessions[session.id] = session
                peers._stamp = max(peers._stamp, session.stamp)
        return peers

    def find(self, certificate: DeviceCertificate) -> Peer | None:
        """The peer of that certificate, if anything was ever exchanged with it.

        Raises:
            Untrusted: this device id was known with other keys.
        """
        peer = self._peers.get(certificate.device)
        if peer is not None and peer.certificate != certificate.id:
            raise Untrusted("a device that changed its keys")
        return peer

    def next_stamp(self) -> int:
        """A number higher than all before, for a session that is started or received on."""
        self._stamp += 1
        return self._stamp

    def add(self, certificate: DeviceCertificate, session: Session) -> Peer:
        """Keep a new session; of more than `RECEIVE_SESSIONS_MAX` the stalest is dropped."""
        peer = self.find(certificate)
        if peer is None:
            peer = self._peers[certificate.device] = Peer(certificate.id)
            self.changed.add(f"peer/{certificate.device.hex()}")
        peer.sessions[session.id] = self._sessions[session.id] = session
        self.touch(session)
        while len(peer.sessions) > RECEIVE_SESSIONS_MAX:
            self._drop(peer, min(peer.sessions.values(), key=lambda one: one.stamp))
        return peer

    def touch(self, session: Session) -> None:
        """Note that a session changed."""
        self.changed.add(f"session/{session.id.hex()}")

    def touch_peer(self, device: DeviceId) -> None:
        """Note that a pair chain moved."""
        self.changed.add(f"peer/{device.hex()}")

    def retire(self, device: DeviceId) -> None:
        """Send on none of a device's sessions any more; what is under way can still be opened."""
        peer = self._peers.get(device)
        for session in peer.sessions.values() if peer else ():
            session.retired = True
            self.touch(session)

    def forget(self, device: DeviceId) -> None:
        """Delete everything about a device."""
        peer = self._peers.pop(device, None)
        if peer is not None:
            for session in list(peer.sessions.values()):
                self._drop(peer, session)
            self.touch_peer(device)

    def item(self, name: str) -> bytes | None:
        """An item's bytes as they are now; `None` if it is to be deleted."""
        kind, _, rest = name.partition("/")
        if kind == "session":
            session = self._sessions.get(bytes.fromhex(rest))
            return None if session is None else session.encode(self._random(PICKLE_KEY_BYTES))
        peer = self._peers.get(device_id(bytes.fromhex(rest)))
        if peer is None:
            return None
        return pack(peer.certificate, peer.sent.encode(), peer.received.encode())

    def _drop(self, peer: Peer, session: Session) -> None:
        del peer.sessions[session.id], self._sessions[session.id]
        self.touch(session)
