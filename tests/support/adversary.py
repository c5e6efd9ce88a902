"""A scene for attacks on the encryption, and what an adversary can do in it.

The adversary is the server, a network, a thief of old state, or a correspondent who does not
keep to the protocol; the last one is given a device's insides.
"""

import pytest

from miss_protocol.crypto import body as bodies
from miss_protocol.crypto.endpoint import Endpoint, Sealed
from miss_protocol.crypto.session import Session
from miss_protocol.crypto.wrapped import Wrapped
from miss_protocol.errors import Undecryptable
from miss_protocol.identity.message import InnerMessage
from miss_protocol.ids import MessageId
from tests.support.devices import NOW, Person, connect, device_of, read, write


class Scene:
    """Alice's and Bruno's phones in a session that was answered, and a third person."""

    def __init__(self) -> None:
        self.alice, self.bruno, self.mallory = Person(), Person(), Person()
        self.a, self.b, self.m = self.alice.device, self.bruno.device, self.mallory.device
        self.people = [self.alice, self.bruno]
        connect(self.a, self.b)
        read(self.b, self.a, write(self.a, [self.b], self.people))
        read(self.a, self.b, write(self.b, [self.a], self.people))
        for device in (self.a, self.b, self.m):
            device.take_changes()

    def from_alice(self, text: str = "bonjour") -> Sealed:
        return write(self.a, [self.b], self.people, text)

    def wrap(self, sealed: Sealed) -> bytes:
        return sealed.wraps[device_of(self.b)]

    def refused(self, body: bytes, wrap: bytes, sender: Endpoint | None = None) -> None:
        """Bruno refuses, by the one error, and nothing of his changes."""
        with pytest.raises(Undecryptable) as failed:
            self.b.open((sender or self.a).certificate, body, wrap, now_ms=NOW)
        assert str(failed.value) == str(Undecryptable())
        assert failed.value.__cause__ is None
        assert self.b.take_changes() == {}


def session_of(device: Endpoint, peer: Endpoint) -> Session:
    known = device._peers.find(peer.certificate)
    assert known is not None
    active = known.sending(NOW)
    assert active is not None
    return active


def seal_wrap(device: Endpoint, peer: Endpoint, plain: bytes) -> bytes:
    """A correspondent's wrap with any contents."""
    return session_of(device, peer).encrypt(plain, b"n" * 24)


def seal_message(
    device: Endpoint, peer: Endpoint, message: InnerMessage, *, wrapped_id: bytes | None = None
) -> tuple[bytes, bytes]:
    """A correspondent's body and wrap around any inner message."""
    named = MessageId(wrapped_id or message.id)
    body = bodies.seal(message.encode(), named, content_key=b"k" * 32)
    plain = Wrapped(b"k" * 32, bodies.body_hash(body), named, 9, bytes(32))
    return body, seal_wrap(device, peer, plain.encode())
