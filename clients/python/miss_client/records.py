"""What the store holds, one struct a kind. All of it is sealed at rest.

Fields may be added with a default; a field's meaning never changes (the store has a format number
for that).
"""

from typing import Literal

from msgspec import Struct

from miss_protocol.digest import EMPTY
from miss_protocol.frames import Kind, Urgency
from miss_protocol.sign_in import SignInOpened
from miss_protocol.vouching import ProofShown

Stage = Literal["enrolling", "recovering", "joining", "ready", "over"]
State = Literal["queued", "sent", "delivered", "read", "failed"]
DeviceOutcome = Literal[
    "waiting", "delivered", "read", "undecryptable", "expired", "refused", "revoked"
]


class DeviceInfo(Struct):
    """This device: whose it is, where its server is, and how far its enrolment went.

    `call` is the body of the enrolment call, kept until it was answered, so that a lost reply is
    answered by the very same call. `over` is why the device may not be used any more.
    """

    server: str
    account: str
    person_name: str
    device_name: str
    stage: Stage
    call: bytes = b""
    over: str = ""
    charter: str = ""
    last_resort_ms: int = 0
    genesis_code: str = ""
    """While joining: which account the invitation named (`identity.link.genesis_code`)."""
    sign_in: SignInOpened | None = None
    """While enrolling by an identity provider."""
    provider_clients: dict[str, str] = {}
    """The operator's name at each provider (by issuer), pinned when it was first seen."""


class Vouched(Struct):
    """A provider's token that was verified here, with the key by which it was: JWK in JSON.

    `persons` as the directory writes identifiers; `name` and `level` are the token's own. `userinfo` is
    what else it took to know the person, signed by the same provider.
    """

    issuer: str
    client: str
    token: str
    key: bytes
    persons: tuple[str, ...]
    name: str
    level: str
    issued_ms: int
    userinfo: str = ""


class Cursor(Struct):
    """How far this device is: in its mailbox, and in its own sends.

    `sn` is the highest serial number ever put on a send, `order` the highest place ever given to
    something that the user sent. `settled` is the highest number whose answer was saved, or
    from which a restored server agreed to count on: one that counts fewer has lost that.
    `last_resort_owed` is set by a restore, which may bring back one that this device has forgotten,
    until the server has a new one.
    """

    position: int = 0
    digest: bytes = EMPTY
    epoch: bytes = b""
    sn: int = 0
    order: int = 0
    settled: int = 0
    last_resort_owed: bool = False


class Contact(Struct):
    """An account that was verified once: its pin, its newest roster, what the directory says.

    `roster` is the newest verified one, encoded. `former` are certificates of devices that left,
    by device id: their receipts for messages that they were sent still count. `changed` is the
    genesis roster of another identity that the server shows and that nobody confirmed; `recovering`
    when, by the server's word, another will take this one's place; `attested_by` who vouches for a
    person without a national number; `enrolled_by` the organisation whose code founded the account, if
    one's did.
    """

    address: str
    name: str
    profession: str
    person: str
    attested: str
    genesis: bytes
    roster: bytes
    dormant: tuple[bytes, ...] = ()
    former: dict[bytes, bytes] = {}
    verified: bool = False
    changed: bytes = b""
    attested_by: tuple[str, ...] = ()
    vouched: Vouched | None = None
    claimed: ProofShown | None = None
    recovering: int = 0
    enrolled_by: str = ""
    met: bool = False
    """A message of it was shown, or one was written to it: the next one is not of somebody new."""


class Draft(Struct):
    """Something to be encrypted and sent. `order` is its place among what the user sent.

    `devices` limits it to single devices (a session ack; a message encrypted anew after a nack),
    else it goes to all devices of `to` and this account's others. It waits until `not_before_ms`.
    `frame` is set if it is encrypted already and only waits for a new serial number; `holds` counts
    how often it had to, for a recipient that has not confirmed its roster to a restored server.
    """

    order: int
    message: bytes
    to: tuple[str, ...]
    content: bytes
    conversation: bytes
    sent_ms: int
    ttl: int
    kind: Kind = "message"
    urgency: Urgency = "normal"
    devices: tuple[bytes, ...] = ()
    tries: int = 0
    not_before_ms: int = 0
    wire: bytes = b""
    """The id of the send that was refused, kept when it is encrypted anew."""
    frame: bytes = b""
    holds: int = 0


class OutboxEntry(Struct):
    """A send: the exact frame, kept until every recipient account is delivered or terminal.

    `frame` is the encoded `Send` and is repeated as it is. `draft` is what it was made from, for
    encrypting it anew. `settled` tells that the server answered `sent`.
    """

    sn: int
    wire: bytes
    frame: bytes
    draft: Draft
    settled: bool = False


class Outcome(Struct):
    """What became of a message at one device. `wire` is the id under which it was last sent to
    it, `again` how often it was encrypted anew for it."""

    account: str
    state: DeviceOutcome
    at_ms: int
    wire: bytes
    again: int = 0


class Message(Struct):
    """A message that was received or written here.

    `id` is the signed id of its first encryption. `state` is for own messages
    only, with `reason` if it failed; `again` counts how often it was encrypted anew. `to` are the
    recipient accounts without the sender's. `text` is what to show, whatever the kind.
    """

    id: bytes
    account: str
    device: bytes
    conversation: bytes
    to: tuple[str, ...]
    text: str
    kind: str
    sent_ms: int
    saved_ms: int
    own: bool = False
    state: State = "sent"
    reason: str = ""
    again: int = 0
    read_ms: int = 0
    reply_to: bytes = b""
    outcomes: dict[bytes, Outcome] = {}
    """By device id."""
    draft: Draft | None = None
    """What an own message was made from: one of its devices may fail to open it long after the others
    have it (rule D3)."""
    wire: bytes = b""
    """Of a received one, the id under which it came last: receipts are for that."""
    says: bytes = b""
    """Of a received one, what its copies must say too (`Opened.says`)."""
    signed: bytes = b""
    """Of one that somebody else wrote, the inner message as it was signed: what a report shows (04 §9)."""


class Seen(Struct):
    """A delivered envelope, so that its replay after a restored server is no error."""

    message: bytes
    device: bytes
    at_ms: int
    control: bool = False
    known_as: bytes = b""
    """The id that the message has here, if it was noted (`Opened.known_as`)."""


class Wire(Struct):
    """Which message an id on the wire stands for."""

    message: bytes
    sn: int


class Waiting(Struct):
    """Whom this account waits for, as far as this device knows: when it last asked (0: never), how many
    have not joined, and of whom it told, by person: the `at` of that wish."""

    asked_ms: int = 0
    open: int = 0
    told: dict[str, int] = {}
