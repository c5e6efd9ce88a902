"""What a client tells its application. Everything here is already saved when it is told."""

from dataclasses import dataclass
from enum import Enum

from miss_protocol.ids import AccountAddress, DeviceId, MessageId


class Connection(Enum):
    """Where the connection is."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    WAITING = "waiting"
    """Lost; a new attempt follows by itself."""
    STOPPED = "stopped"
    """Ended for good; the reason says why."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message was saved. `own` tells that another device of this account wrote it; `first` that
    its sender is new here: offer to accept, decline and block (`miss_client.meeting`)."""

    id: MessageId
    sender: AccountAddress
    sender_name: str
    text: str
    sent_at: int
    conversation: bytes
    own: bool
    to: tuple[AccountAddress, ...]
    kind: str
    first: bool = False


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A message of this device: `queued`, `sent`, `delivered`, `read` or `failed` (`reason`)."""

    id: MessageId
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EncryptedAgain:
    """A message was encrypted anew, because devices changed or one could not open it."""

    id: MessageId
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class GapSeen:
    """The server says that `count` messages for this device are gone, and why. Show it."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class HoleSeen:
    """Messages of this sender are missing before the one that came: held back, or never sent.

    With `contradiction`, the sender's count and its hashes do not fit what came before: a server
    or a sender that lies, or a sender whose state was rolled back.
    """

    sender: AccountAddress
    device: DeviceId
    missing: int
    contradiction: bool = False


@dataclass(frozen=True, slots=True)
class Unopened:
    """A message could not be opened here; its sender was told and may encrypt it anew."""

    sender: str
    reason: str


@dataclass(frozen=True, slots=True)
class Distrusted:
    """Something did not verify and was not used: a forged receipt, a broken roster."""

    account: str
    what: str


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """The connection's state. `retry_in` is in seconds, while waiting."""

    state: Connection
    reason: str = ""
    retry_in: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """The devices of an account changed: this account's own, or a contact's."""

    account: AccountAddress
    version: int
    own: bool


@dataclass(frozen=True, slots=True)
class IdentityChanged:
    """The server shows another identity for a known account. Nothing is sent to it until the
    user confirms."""

    account: AccountAddress
    name: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The server went back to a backup: messages since `since` (ms) may be missing. What was not
    delivered is sent again by itself."""

    since: int
    again: int


@dataclass(frozen=True, slots=True)
class WasDormant:
    """This device was away for so long that messages passed it by."""


@dataclass(frozen=True, slots=True)
class CharterChanged:
    """The operator published a new charter; sign it with `Client.sign_charter`."""

    version: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody whom this account waited for is on MiSS now and can be written to."""

    person: str
    name: str
    account: str


@dataclass(frozen=True, slots=True)
class AccountEnding:
    """This account, or this device's part in it, will end at `due` unless what `kind` names is over
    before: `left` (its person is no longer in the directory), `unattested` (nobody vouches for them any
    more), `recovery` (somebody founds the account anew: offer `own_account.veto_recovery`). Show a kind
    that you do not know with its times, in milliseconds."""

    kind: str
    since: int
    due: int


@dataclass(frozen=True, slots=True)
class DevicesEnded:
    """An organisation ended these devices of this account, which still lists them: offer to remove them
    (`Client.revoke_device`)."""

    devices: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AccountRestricted:
    """The operator lets this account write only to who has answered it; show the reason as it stands."""

    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProofDue:
    """This account's person is to sign in at the identity provider again by `renew_by`: offer
    `Client.prove_identity`. Without it the account is suspended at `ends`. Both in milliseconds."""

    renew_by: int
    ends: int


Event = (
    MessageReceived
    | StatusChanged
    | EncryptedAgain
    | GapSeen
    | HoleSeen
    | Unopened
    | Distrusted
    | ConnectionChanged
    | DeviceChanged
    | IdentityChanged
    | Restored
    | WasDormant
    | CharterChanged
    | Joined
    | AccountEnding
    | AccountRestricted
    | DevicesEnded
    | ProofDue
)
