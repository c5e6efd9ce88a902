"""What an account is told about itself: the bodies of its HTTP calls. Spec: 11-accounts §3."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from miss_protocol.api import Charter
from miss_protocol.frames import Address, Counter, Id16, Text

PersonId = Annotated[str, Meta(max_length=96)]
"""The identifier of a directory entry (spec 05 §1.1)."""


class AccountNotice(Struct, frozen=True, omit_defaults=True):
    """Something that will end this device's access at `due`, unless what it names is over before.

    `kind` is `left` (its person is no longer in the directory), `unattested` (nothing vouches any
    more for a person without a national number) or `recovery` (somebody founds the account anew; a
    device that is still in its owner's hands objects: `POST /v1/recoveries/veto`); clients show one that they do not know with its times.
    Times are milliseconds.
    """

    kind: str
    since: Counter
    due: Counter


class AccountStanding(Struct, frozen=True):
    """A decision about this account that is in force (spec 09 §2).

    `state` is `restricted` (`suspended` cannot be asked for: the refusal of the call says it); `reason`
    is shown as it stands.
    """

    state: str
    reason: Text
    since: Counter


class AccountNotices(Struct, frozen=True):
    """`GET /v1/account/notices`: what its user should know of this account; empty if all is well.

    `ended` are devices that an organisation ended and this account's roster still lists: a client offers
    to sign one without them (11 §6.3).
    """

    account: Address
    notices: tuple[AccountNotice, ...] = ()
    standing: AccountStanding | UnsetType = UNSET
    ended: tuple[Id16, ...] = ()


class Attest(Struct):
    """`POST /v1/attestations`: vouch for a person without a national number;
    `POST /v1/attestations/withdraw`: vouch no more."""

    person: PersonId


class Attestation(Struct, frozen=True):
    """One that this account gave. `name` is the person's."""

    person: str
    name: str
    at: Counter


class Attestations(Struct, frozen=True):
    """`GET /v1/attestations`: for whom this account vouches, and for how many it may."""

    attestations: tuple[Attestation, ...]
    most: int


class RecoveryPreview(Struct):
    """*open* `POST /v1/recoveries/preview` with a `CodeGiven`: whose account, and how long it takes.

    `delay` is in seconds: for so long every device of the account may object.
    """

    account: Address
    name: str
    profession: str
    charter: Charter
    delay: Counter


class RecoveryState(Struct, frozen=True):
    """*open* `POST /v1/recoveries` with an `Enrol`: a new genesis waits to replace the old one.

    The very same call, repeated, tells how that stands: `state` is `waiting`, `done` (connect now),
    `vetoed` by a device of the account, or `cancelled` by the operator. Signed, `POST
    /v1/recoveries/veto` objects. Times are milliseconds.
    """

    account: Address
    device: Id16
    state: str
    begun: Counter
    due: Counter
