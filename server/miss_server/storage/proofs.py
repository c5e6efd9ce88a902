"""The interface of sign-ins at an identity provider, and of what they proved.

Every method is one transaction, durable when it returns. A refusal raises `Refused` with its code and
changes nothing. On a database of the schema before, everything here is refused with `busy` until
`db upgrade`. `tests/contract/test_proofs.py` is the contract suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from miss_protocol.errors import Refused
from miss_protocol.ids import AccountAddress, DeviceId
from miss_server.storage.accounts import Enrolment

Stage = Literal["open", "waiting", "signed_in", "confirmed", "done", "failed"]
Method = Literal["code", "ciba"]

TRIES_MAX = 5
"""Wrong confirmations of one sign-in: the code has 49 bits, the tries keep it from being guessed by
whoever sent somebody else's browser to the provider."""


class Shown(msgspec.Struct):
    """What a sign-in proved: who, by whose token, at which level."""

    person: str
    name: str
    issuer: str
    client: str
    token: str
    level: str
    issued_ms: int
    userinfo: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """How a sign-in was begun.

    Attributes:
        state, verifier: of the code flow; the state comes back once.
        request, interval, hint: of CIBA: the provider's name of the question, seconds between
            polls, and the person that was asked.
        genesis: what the sign-in is to vouch for; empty for who renews.
    """

    method: Method
    genesis: bytes
    state: str = ""
    verifier: str = ""
    request: str = ""
    interval: int = 0
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in as it stands. `begun_ms` names the attempt: a result of an earlier one is dropped."""

    id: bytes
    account: AccountAddress
    renews: bool
    stage: Stage
    method: Method
    verifier: str
    request: str
    hint: str
    genesis: bytes
    begun_ms: int
    shown: Shown | None
    code: str
    reason: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What vouches for an account's genesis. `token` is empty if no contact could check it: that of CIBA,
    which names no genesis, and one of whose person only an unsigned answer told. `userinfo` is a signed
    one, where it takes that to know the person. `level` and `proved_ms` may be of a later sign-in, of which
    there is no such token."""

    account: AccountAddress
    genesis: bytes
    person: str
    method: Method
    issuer: str
    client: str
    token: str
    level: str
    proved_ms: int
    lapsed: bool
    userinfo: str = ""


@dataclass(frozen=True, slots=True)
class Lapsed:
    """An account that was not proven anew in time, and its devices."""

    account: AccountAddress
    devices: tuple[DeviceId, ...]


class Proofs(Protocol):
    """Sign-ins under way, and proofs."""

    async def new_sign_in(self, account: AccountAddress, *, expires_ms: int) -> str:
        """An app's secret for a sign-in that opens `account`, an address not in use yet.

        It says by itself what it opens, so that nothing is kept for a stranger who begins nothing.
        """
        ...

    async def open_renewal(
        self, secret: str, account: AccountAddress, *, expires_ms: int, now_ms: int
    ) -> None:
        """Keep a hash of an app's secret for a sign-in by which `account` is proven anew."""
        ...

    async def sign_in(self, secret: str, *, now_ms: int) -> SignIn:
        """A sign-in by its app's secret. Raises `Refused`: sign_in_unknown, sign_in_over."""
        ...

    async def begin_sign_ins(
        self, some: Sequence[tuple[str, Begun]], *, now_ms: int
    ) -> list[Refused | None]:
        """Note by each secret what was asked of the provider, in the order given; an earlier attempt of the
        same sign-in ends.

        Tells of each why it was not, as `sign_in` does and also of one that has come to its end; the others
        are noted all the same.
        """
        ...

    async def take_state(self, state: str, *, now_ms: int) -> SignIn:
        """The sign-in of a browser that came back, once: a second time it is sign_in_over."""
        ...

    async def may_poll(self, sign_in: SignIn, *, now_ms: int) -> bool:
        """Whether it is time to ask the provider again, of all nodes this one; notes the time."""
        ...

    async def poll_slower(self, sign_in: SignIn, seconds: int) -> None:
        """Ask more rarely from now on."""
        ...

    async def note_shown(self, sign_in: SignIn, shown: Shown, *, confirmation: str) -> bool:
        """Keep what was proved; without a `confirmation` nothing more is asked for.

        False if this attempt has ended meanwhile.
        """
        ...

    async def note_failed(self, sign_in: SignIn, code: str, reason: str) -> None:
        """Keep why an attempt came to nothing; another may be begun."""
        ...

    async def confirm(self, secret: str, confirmation: str, *, now_ms: int) -> bool:
        """Whether this is the code of the page; after `TRIES_MAX` wrong ones the sign-in is over.

        True again for one that was confirmed before. Raises `Refused` as `sign_in`, and out_of_place
        before anybody signed in.
        """
        ...

    async def finish(
        self, secret: str, enrolment: Enrolment | None, *, now_ms: int
    ) -> AccountAddress:
        """Carry a confirmed sign-in out: open the account if the person has none, make its first
        device, and keep the proof; or, without an enrolment, keep the newer proof.

        An account of the person that nobody has founded yet gets the address that the genesis is of.
        Repeated it succeeds again. Raises `Refused`: out_of_place before it is confirmed; untrusted
        for another genesis than it was begun with; already_enrolled; not_allowed for who has no national
        number, and whose organisation ended that it vouches; another_person for a renewal by somebody else.
        """
        ...

    async def proof(self, account: AccountAddress) -> Proof | None:
        """What vouches for an account; None for the operator's word alone."""
        ...

    async def lapse(self, *, before_ms: int, now_ms: int) -> list[Lapsed]:
        """Suspend accounts whose proof is older; some at a time, none when all are done. Each is written
        into the audit log, and so is their coming back by `finish`."""
        ...
