"""The frames of the WebSocket, as both subprotocols carry them. Spec: 02-wire §3.

A frame is a map with a string `op`; a WebSocket message is an array of frames. Bytes are `bin` in
MessagePack and standard base64 in JSON. Times are milliseconds since 1970 in UTC, as told by the
side that sends them. Unknown fields are ignored, an unknown `op` is answered with `unsupported`.

    client to server    hello  send  ack  nack  ping  pong
    server to client    challenge  welcome  sent  refused  retry  deliver  gap  drained  status
                        acked  error  bye  ping  pong
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from miss_protocol import limits
from miss_protocol.identity.receipts import Receipt

Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Nonce = Annotated[bytes, Meta(min_length=limits.NONCE_BYTES, max_length=limits.NONCE_BYTES)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Address = Annotated[str, Meta(min_length=28, max_length=280)]
Counter = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Versions, positions, serial numbers: within what JSON readers hold exactly."""
Text = Annotated[str, Meta(max_length=280)]
Seconds = Annotated[float, Meta(ge=0, le=limits.RETRY_AFTER_MAX)]
"""A wait: a number that a timer can take, so neither NaN nor a year."""
Wrap = Annotated[bytes, Meta(max_length=limits.WRAP_MAX)]

Kind = Literal["message", "control"]
"""What a send is, for the server's eyes: `control` (session acks, edits of state) never notifies,
and no receipt is ever produced for it (rule D4)."""
Urgency = Literal["normal", "urgent"]
NackReason = Literal["undecryptable", "untrusted", "malformed"]
Subprotocol = Literal["miss.v1.msgpack", "miss.v1.json"]
MSGPACK: Subprotocol = "miss.v1.msgpack"
JSON: Subprotocol = "miss.v1.json"


class Frame(Struct, tag_field="op", forbid_unknown_fields=False, gc=False):
    """Any frame."""


# --- both ways ------------------------------------------------------------------------------------


class Ping(Frame, tag="ping"):
    """Asks whether the peer still reads; answered by `pong` with the same `n`."""

    n: Counter


class Pong(Frame, tag="pong"):
    """Answers `ping`."""

    n: Counter


# --- client to server -----------------------------------------------------------------------------


class App(Struct):
    """The application that speaks, for version requirements and for support."""

    name: Text
    version: Text
    platform: Text


class Hello(Frame, tag="hello"):
    """The answer to `challenge`: who speaks, and how far it is. Once per connection.

    `signature` is `identity.login` over the challenge. `acked` and `digest` are the last position
    that this device stored and the rolling digest there; `epoch` is the mailbox epoch it last saw
    (empty at first); `sn` the highest serial number it ever put on a send; `roster` the version
    of its own account's roster that it knows; `settled` the highest serial number whose answer it
    saved, or that it declared when told `restored`: a server that counts fewer is an older copy,
    even if no mailbox differs (rule C6).
    """

    device: Id16
    signature: Signature
    app: App
    acked: Counter
    digest: Hash32
    sn: Counter
    epoch: bytes = b""
    roster: Counter = 0
    capabilities: tuple[Text, ...] = ()
    settled: Counter | UnsetType = UNSET


class DeviceWrap(Struct, gc=False):
    """One recipient device's wrap of the body's key: a suite byte first, opaque to the server."""

    device: Id16
    wrap: Wrap


class RosterUsed(Struct, gc=False):
    """The roster version from which a recipient account's devices were taken."""

    account: Address
    version: Counter


class Send(Frame, tag="send"):
    """A message for all devices of the named accounts, the sender's own other devices included.

    `sn` counts this device's sends without holes; a retry repeats the same bytes under the same
    `sn`. `at` is when the user sent it and `ttl` for how many seconds from then it is of use: a
    send that waited too long in an outbox is refused as `expired` and not delivered silently late.
    Answered by `sent`, `refused` (both settle the `sn`) or `retry`.
    """

    sn: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    id: Id16
    at: Counter
    body: bytes
    wraps: tuple[DeviceWrap, ...]
    rosters: tuple[RosterUsed, ...]
    kind: Kind = "message"
    urgency: Urgency = "normal"
    ttl: Annotated[int, Meta(ge=limits.TTL_MIN, le=limits.TTL_MAX)] = limits.TTL_DEFAULT
    partial: bool = False
    """Only the wrapped devices are meant, not all of the accounts: a session ack, or a message
    that is encrypted anew for a device that could not open it (rule D3)."""


class Ack(Frame, tag="ack"):
    """Everything up to `position` and every status up to `tick` is stored on this device.

    Both are cumulative and go forward only; what is absent is left as it was. `receipts` ride
    along. With a `ref`, `acked` answers once all of it is durable.
    """

    position: Counter | UnsetType = UNSET
    tick: Counter | UnsetType = UNSET
    receipts: tuple[Receipt, ...] = ()
    ref: Counter | UnsetType = UNSET


class Nack(Frame, tag="nack"):
    """The envelope at `position` cannot be opened here: terminal for it (rule D3)."""

    position: Counter
    reason: NackReason


# --- server to client -----------------------------------------------------------------------------


class Challenge(Frame, tag="challenge"):
    """The first frame of a connection: sign `nonce` for `domain`."""

    nonce: Nonce
    domain: Text
    time: Counter


class Welcome(Frame, tag="welcome"):
    """The device is known and its count agreed.

    `position` is the mailbox's head; rows after the acknowledged position follow. `sn` is the
    highest serial number the server settled. `restored` tells a changed epoch: what was delivered
    since that time may be missing, outboxes submit again, and the device counts on from `acked`
    with `digest` (rule C6). `dormant` tells that messages passed this device by while it was away.
    """

    account: Address
    epoch: Id16
    position: Counter
    acked: Counter
    sn: Counter
    time: Counter
    prekeys: Counter
    roster: Counter
    charter: Text = ""
    restored: Counter | UnsetType = UNSET
    digest: Hash32 | UnsetType = UNSET
    dormant: bool = False
    capabilities: tuple[Text, ...] = ()


class DeviceRefused(Struct, gc=False):
    """A recipient device that the accepted message did not reach, and why."""

    device: Id16
    code: Text


class Sent(Frame, tag="sent"):
    """The send `sn` is durable for all recipients but those in `refused`."""

    sn: Counter
    id: Id16
    at: Counter
    refused: tuple[DeviceRefused, ...] = ()


class Refused(Frame, tag="refused"):
    """The send `sn` is refused and settled; its `sn` is used up. `accounts` names whose rosters,
    or which accounts, are the cause."""

    sn: Counter
    code: Text
    accounts: tuple[Address, ...] = ()
    retry_after: Seconds | UnsetType = UNSET


class RetrySend(Frame, tag="retry"):
    """The outcome of `sn` is unknown or not decided: repeat the same bytes (rule C4)."""

    sn: Counter
    code: Text
    retry_after: Seconds


class Deliver(Frame, tag="deliver"):
    """A message at its position in this device's mailbox."""

    position: Counter
    account: Address
    device: Id16
    id: Id16
    body: bytes
    wrap: bytes
    at: Counter
    kind: Kind = "message"
    urgency: Urgency = "normal"


class Gap(Frame, tag="gap"):
    """Positions `first` to `last` hold nothing any more, and why. Shown to the user.

    `hashes` are the row hashes of that range, so that the rolling digest goes on (`digest`).
    """

    first: Counter
    last: Counter
    reason: Literal["expired", "quota", "restored"]
    count: Counter
    hashes: tuple[Hash32, ...]


class Drained(Frame, tag="drained"):
    """Everything that waited has been sent, up to `position`; what follows is live."""

    position: Counter


class DeviceState(Struct, gc=False, omit_defaults=True):
    """What became of a message at one recipient device. `delivered` and `read` carry a receipt;
    the other states are the server's word."""

    device: Id16
    state: Literal["waiting", "delivered", "read", "undecryptable", "expired", "refused", "revoked"]
    at: Counter
    signature: bytes = b""


class Status(Frame, tag="status"):
    """The states of message `id`, which this device sent. The newest replaces the older (D5)."""

    tick: Counter
    id: Id16
    sn: Counter
    devices: tuple[DeviceState, ...]


class Acked(Frame, tag="acked"):
    """The `ack` with this `ref` is durable."""

    ref: Counter


class Error(Frame, tag="error"):
    """A frame was refused alone; the connection goes on. `about` is its `op` if that was read;
    `reason` what whoever suspended the account wrote for its owner."""

    code: Text
    text: Text
    about: Text = ""
    ref: Counter | UnsetType = UNSET
    retry_after: Seconds | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class Bye(Frame, tag="bye"):
    """The server closes in order; come back after `retry_after` seconds, jittered."""

    code: Text
    retry_after: Seconds


ClientFrame = Hello | Send | Ack | Nack | Ping | Pong
ServerFrame = (
    Challenge
    | Welcome
    | Sent
    | Refused
    | RetrySend
    | Deliver
    | Gap
    | Drained
    | Status
    | Acked
    | Error
    | Bye
    | Ping
    | Pong
)
