"""Devices, accounts and messages for tests: fictive people, real keys."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from nacl.signing import SigningKey

from miss_protocol.content import Content, Text
from miss_protocol.crypto.endpoint import Endpoint, Opened, Outgoing, Recipient, Sealed
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import Roster, RosterEntry
from miss_protocol.ids import AccountAddress, DeviceId, new_address

NOW = 1_790_000_000_000
DOMAIN = "messagerie.example"
DAY_MS = 24 * 3600 * 1000


def address() -> AccountAddress:
    """A new account's address."""
    return new_address(os.urandom(16), DOMAIN)


@dataclass
class Person:
    """An account with its devices and the newest roster."""

    account: AccountAddress = field(default_factory=address)
    devices: list[Endpoint] = field(default_factory=list)
    roster: Roster = field(init=False)

    def __post_init__(self) -> None:
        first = self.make_device()
        self.devices.append(first)
        entry = RosterEntry(first.certificate, "téléphone", approve=True)
        self.roster = rosters.found(SigningKey.generate(), self.account, entry, now_ms=NOW)

    @property
    def device(self) -> Endpoint:
        """The first device."""
        return self.devices[0]

    def make_device(self, now_ms: int = NOW) -> Endpoint:
        """A device that no roster lists yet."""
        return Endpoint.create(self.account, now_ms=now_ms, random=os.urandom)

    def add_device(self, *, approve: bool = False, now_ms: int = NOW) -> Endpoint:
        """A further device, approved by the first."""
        new = self.make_device(now_ms)
        self.roster = rosters.succeed(
            self.roster,
            self.device.signing_key,
            self.device.certificate.device,
            add=[RosterEntry(new.certificate, "tablette", approve=approve)],
            now_ms=NOW,
        )
        self.devices.append(new)
        return new

    @property
    def recipient(self) -> Recipient:
        """As a message's recipient."""
        return Recipient.of(self.roster)


def connect(sender: Endpoint, receiver: Endpoint, *, now_ms: int = NOW) -> None:
    """Start a session over a fresh one-time prekey."""
    (prekey,) = receiver.new_prekeys(1, now_ms=now_ms)
    sender.start_session(receiver.certificate, prekey, now_ms=now_ms)


def write(
    sender: Endpoint,
    receivers: Sequence[Endpoint],
    people: Sequence[Person],
    content: Content | str = "bonjour",
    *,
    now_ms: int = NOW,
) -> Sealed:
    """Seal a message for devices; sessions must exist."""
    said = Text(text=content) if isinstance(content, str) else content
    outgoing = Outgoing(b"c" * 16, said, [person.recipient for person in people])
    return sender.seal(outgoing, [one.certificate for one in receivers], now_ms=now_ms)


def read(receiver: Endpoint, sender: Endpoint, sealed: Sealed, *, now_ms: int = NOW) -> Opened:
    """Open one's own wrap of a message."""
    wrap = sealed.wraps[receiver.certificate.device]
    return receiver.open(sender.certificate, sealed.body, wrap, now_ms=now_ms)


def said(opened: Opened) -> str:
    """The text of an opened message."""
    assert isinstance(opened.content, Text)
    return opened.content.text


class Disk:
    """A store that keeps what `take_changes` hands out, and can be read back."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}

    def save(self, endpoint: Endpoint) -> dict[str, bytes | None]:
        """Apply the changes; also return them."""
        changes = endpoint.take_changes()
        for name, item in changes.items():
            if item is None:
                self.items.pop(name, None)
            else:
                self.items[name] = item
        return changes

    def load(self) -> Endpoint:
        """The device as it was saved."""
        return Endpoint.load(dict(self.items), random=os.urandom)


def device_of(endpoint: Endpoint) -> DeviceId:
    """An endpoint's device id."""
    return endpoint.certificate.device
