"""The bodies of the calls about sign-ins at an identity provider. Spec: 10-identity-provider §2.

A client opens a sign-in, founds its account under the address it was given, begins the sign-in with
that genesis, has its user sign in, and confirms with the enrolment. Errors are `Problem` documents.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from miss_protocol.api import Charter, Enrol
from miss_protocol.frames import Address, Counter, Hash32, Text
from miss_protocol.vouching import ProofShown, ProviderInfo

Secret = Annotated[str, Meta(max_length=64)]
Method = Literal["code", "ciba"]


class SignInOpened(Struct):
    """*open* `POST /v1/identity/sign-ins`; signed `POST /v1/identity/renewals` for an account that has
    devices. `sign_in` is the client's secret; `account` the address that its genesis must be of."""

    sign_in: Secret
    account: Address
    charter: Charter
    provider: ProviderInfo
    expires: Counter


class SignInBegin(Struct):
    """*open* `POST /v1/identity/sign-ins/begin`: where does the user sign in?

    `genesis` is that of the account (04 §3), for which the sign-in is to vouch; left out by who renews.
    `hint` is the national identifier of the person to be asked, for `ciba`. Repeated, it begins anew,
    and what the earlier one led to is worth nothing any more.
    """

    sign_in: Secret
    method: Method
    genesis: Hash32 | UnsetType = UNSET
    hint: Annotated[str, Meta(max_length=96)] = ""


class SignInBegun(Struct):
    """`url` is to be opened in the user's browser; or, for `ciba`, `message` to be shown: the person's
    own app shows the same."""

    url: str
    message: str
    expires: Counter


class SignInAsked(Struct):
    """*open* `POST /v1/identity/sign-ins/status`: what has become of it? Not more often than every
    `poll` seconds of the answer before."""

    sign_in: Secret


class SignInStatus(Struct):
    """`stage`: `open`, `waiting`, `signed_in` (ask the user for the code of the page), `confirmed`,
    `done`, or `failed` with a `code` of 06 and perhaps the `reason` of 10 §3.1."""

    stage: str
    poll: int
    code: str = ""
    reason: str = ""
    name: str = ""
    person: str = ""


class SignInConfirm(Struct):
    """*open* `POST /v1/identity/sign-ins/confirm`: carry it out. `confirmation` is the code that the
    page showed to who signed in; empty for `ciba`. `enrol` is the enrolment of the genesis that it was begun
    with, its `code` empty; left out by who renews. Repeated, it answers the same."""

    sign_in: Secret
    confirmation: Annotated[str, Meta(max_length=64)] = ""
    enrol: Enrol | UnsetType = UNSET


class SignedIn(Struct):
    """The account is the person's. The device may connect now."""

    account: Address
    name: str
    person: str
    attested: Text
    proof: ProofShown | UnsetType = UNSET


class ProofHeld(Struct, omit_defaults=True):
    """`GET /v1/identity`: who vouches for this account. Times are milliseconds.

    `proved` by the provider's clock; `renew_by` when it is to be proven anew and `ends` when the
    account is suspended otherwise, both absent if never. `due`: tell the user now.
    """

    attested: Text
    proved: Counter | UnsetType = UNSET
    level: str = ""
    renew_by: Counter | UnsetType = UNSET
    ends: Counter | UnsetType = UNSET
    due: bool = False
