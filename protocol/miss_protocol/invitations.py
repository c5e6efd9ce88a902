"""The bodies of the HTTP calls about people who are not on MiSS: inviting them, and asking to be told
when they join. Spec: 12-invitations.

An invitation carries no words: who is invited, and by whom, is all that there is to say.
"""

from typing import Annotated

from msgspec import Meta, Struct

from miss_protocol.directory import Reach
from miss_protocol.frames import Counter

PersonId = Annotated[str, Meta(min_length=1, max_length=96, pattern=r"^[^\u0000-\u001f]*$")]
"""An identifier of the directory (spec 05 §1.1); of whatever form, but without control characters."""


class PersonNamed(Struct):
    """`POST /v1/invitations`, `POST /v1/wishes`, `POST /v1/wishes/withdraw`: about whom."""

    person: PersonId


class Invitation(Struct, frozen=True):
    """Somebody whom this account invited. `at` is when it was asked for, `handed_over` when the operator
    sent it, null as long as it waits.

    Whether they came is in the directory: an invitation tells nothing of what became of it.
    """

    person: str
    at: Counter
    handed_over: Counter | None


class InvitationPage(Struct, frozen=True):
    """`GET /v1/invitations?cursor=CURSOR`: this account's invitations, the newest first.

    `left` is how many more people it may invite today; `next` is given back as `cursor` for the
    following page, null after the last.
    """

    invitations: tuple[Invitation, ...]
    left: Counter
    next: str | None


class Wish(Struct, frozen=True):
    """Somebody of whom this account wants to know when they join.

    They have joined when `reach` is `miss` or `dormant`; `account` is then their address. `name` and
    `profession` are those of the directory, empty if they are no longer in it. A client shows each of
    them once and remembers that it did (spec 12 §3).
    """

    person: str
    at: Counter
    expires: Counter
    name: str
    profession: str
    reach: Reach
    account: str | None


class Wishes(Struct, frozen=True):
    """`GET /v1/wishes`: all of them, the oldest first; also the answer to making or withdrawing one."""

    wishes: tuple[Wish, ...]
