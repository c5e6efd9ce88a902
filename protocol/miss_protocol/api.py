"""The bodies of the HTTP calls, in JSON. Spec: 02-wire §5; generated: `protocol/openapi.json`.

Every call but those marked *open* is signed with the device key (RFC 9421, `http_signature`).
Errors are `Problem` documents (RFC 9457). The directory's bodies are in `directory`.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from miss_protocol import limits
from miss_protocol.frames import (
    Ack,
    Address,
    App,
    Counter,
    Deliver,
    Gap,
    Hash32,
    Id16,
    Nack,
    Seconds,
    Signature,
    Status,
    Text,
)
from miss_protocol.vouching import ProofShown, ProviderInfo

CodeText = Annotated[str, Meta(max_length=64)]
Name = Annotated[str, Meta(max_length=limits.DEVICE_NAME_MAX)]
RosterBytes = Annotated[bytes, Meta(max_length=limits.ROSTER_MAX)]
CertificateBytes = Annotated[bytes, Meta(max_length=1024)]
PrekeyBytes = Annotated[bytes, Meta(max_length=2048)]


class Problem(Struct, omit_defaults=True):
    """An error, `application/problem+json`. `code` is one of `errors.Code`; `texts` by language;
    `reason` is what whoever suspended the account wrote for its owner."""

    type: str
    title: str
    status: int
    code: str
    texts: dict[str, str]
    retry: str
    retry_after: Seconds | UnsetType = UNSET
    accounts: tuple[Address, ...] = ()
    reason: Text = ""


class Charter(Struct):
    """The rules of use. `hash` is `identity.charter.charter_hash` of `en`, a line feed and `fr`."""

    version: Text
    hash: Hash32
    en: str
    fr: str


class ServerInfo(Struct):
    """*open* `GET /v1/server`: whose server this is and what it asks for."""

    domain: Text
    time: Counter
    protocol: tuple[str, ...]
    charter: Charter
    minimum_app: dict[str, str]
    provider: ProviderInfo | UnsetType = UNSET


class CodeGiven(Struct):
    """*open* `POST /v1/enrolment/preview`, `POST /v1/links/preview`: whom would this code enrol?"""

    code: CodeText


class EnrolmentPreview(Struct):
    """The account behind a code, before it is used: shown for the user to confirm."""

    account: Address
    name: str
    profession: str
    charter: Charter


class CharterSigned(Struct):
    """The charter's acceptance (`identity.charter`): version, text hash, time, device signature.

    Alone: `POST /v1/charter`, after the operator published a new version.
    """

    version: Text
    hash: Hash32
    at: Counter
    signature: Signature


class CharterAccepted(Struct):
    """The version that this account accepted."""

    version: Text


class Enrol(Struct):
    """*open* `POST /v1/enrolment`: an account's first device.

    `roster` is the genesis roster (version 1, signed by the account key that is then destroyed)
    and holds the device's certificate; `prekeys` are `SignedPrekey`s, the last resort among them.
    The same call repeated answers the same, so that a lost reply costs no code.
    """

    code: CodeText
    roster: RosterBytes
    prekeys: Annotated[tuple[PrekeyBytes, ...], Meta(max_length=limits.PREKEYS_UPLOADED + 1)]
    charter: CharterSigned
    app: App


class Enrolled(Struct):
    """The device may connect now."""

    account: Address
    device: Id16
    roster: Counter


class LinkInvitation(Struct):
    """`POST /v1/links/invitations`: a short code that tells a new device which account to join."""

    code: str
    expires: Counter


class LinkRequest(Struct):
    """*open* `POST /v1/links`: a new device asks to be approved. `code` is the invitation's."""

    code: CodeText
    certificate: CertificateBytes
    name: Name


class PendingLink(Struct):
    """A device that waits for approval. The approver compares `identity.link.approval_code`."""

    certificate: bytes
    name: str
    created: Counter


class PendingLinks(Struct):
    """`GET /v1/links`: the devices that ask to join this account."""

    links: tuple[PendingLink, ...]


class LinkStatus(Struct):
    """*open* `POST /v1/links/status` with a `LinkRequest`: the rosters once approved, else empty."""

    rosters: tuple[bytes, ...]
    charter: Text = ""


class RosterProposed(Struct):
    """`POST /v1/rosters`: version + 1, signed by a device with the right to approve (rule A2).

    `certificate` is the caller's own, of a device that a restored server does not know (03 §6): its key
    is then looked up there.
    """

    roster: RosterBytes
    certificate: CertificateBytes = b""


class RosterAccepted(Struct):
    """The version that is in force now."""

    version: Counter


class Rosters(Struct):
    """`GET /v1/accounts/{address}/rosters?after=VERSION`: the chain after that version.

    `dormant` names devices that senders leave out; `attested` who vouches for the genesis
    (rule A4): `operator` or `provider`, by the server's word; `attested_by` names who vouches for a person without a
    national number (rule F2). With `recovering` another genesis will take this one's place at that
    time, unless a device of the account objects (rule A3). `proof` is the
    provider's token, by which the client finds that itself (10 §4). `enrolled_by` is the name of the
    organisation whose administrator handed out the code of this genesis, if one did (11 §6.2).
    """

    account: Address
    name: str
    profession: str
    person: str
    attested: str
    rosters: tuple[bytes, ...]
    dormant: tuple[Id16, ...] = ()
    attested_by: tuple[str, ...] = ()
    recovering: Counter | UnsetType = UNSET
    proof: ProofShown | UnsetType = UNSET
    enrolled_by: str | UnsetType = UNSET


class PrekeysUploaded(Struct):
    """`POST /v1/prekeys`: one-time prekeys with rising ids, and perhaps a new last resort.

    `epoch` is the mailbox epoch in which they were made, empty if the device knew none. After a
    restore only those of the epoch in force are kept.
    """

    prekeys: Annotated[tuple[PrekeyBytes, ...], Meta(max_length=limits.PREKEYS_UPLOADED + 1)]
    epoch: bytes = b""


class PrekeyCount(Struct):
    """How many one-time prekeys of this device are left, and the highest id ever uploaded."""

    count: int
    highest: int


class PrekeysClaimed(Struct):
    """`POST /v1/prekeys/claim`: one prekey for each device; each one-time prekey goes out once."""

    devices: Annotated[tuple[Id16, ...], Meta(max_length=limits.RECIPIENT_DEVICES_MAX)]


class ClaimedPrekey(Struct):
    """A device's prekey, a last resort if its one-time ones are used up."""

    device: Id16
    prekey: bytes


class Prekeys(Struct):
    """The claimed prekeys. A device that is missing has none (or is revoked): fetch its roster."""

    prekeys: tuple[ClaimedPrekey, ...]


class MailboxCall(Struct):
    """`POST /v1/mailbox`: what one connection would do, in one signed request (rule B3).

    First the acknowledgements are stored, then rows after `after` are returned, up to a window.
    It never bumps the session generation, so a live socket of the device stays.
    """

    after: Counter
    digest: Hash32
    sn: Counter
    epoch: bytes = b""
    roster: Counter = 0
    ack: Ack | UnsetType = UNSET
    nacks: tuple[Nack, ...] = ()
    settled: Counter | UnsetType = UNSET


class MailboxPage(Struct):
    """What waits for the device. `more` tells that another call would bring more."""

    epoch: Id16
    position: Counter
    acked: Counter
    sn: Counter
    more: bool
    prekeys: Counter
    rows: tuple[Deliver | Gap, ...]
    statuses: tuple[Status, ...]
    restored: Counter | UnsetType = UNSET
    after_digest: Hash32 | UnsetType = UNSET
