"""People who meet: the bodies of the calls about contacts, requests and reach. Spec: 08-meeting."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from miss_protocol import limits
from miss_protocol.frames import Address, Counter

Act = Literal["accept", "decline", "block", "unblock"]
Stance = Literal["none", "request", "contact", "declined", "blocked"]
Whom = Literal["anyone", "contacts", "listed"]

Listed = Annotated[str, Meta(min_length=1, max_length=96)]
ListedCodes = Annotated[tuple[Listed, ...], Meta(max_length=limits.LISTED_MAX)]


class Contact(Struct, omit_defaults=True):
    """What is between the caller and another account, as the caller sees it.

    `stance`: `request` for somebody who wrote and whom the caller has neither answered nor judged,
    `contact` once it wrote to it or accepted it. `wrote` is when the other first wrote, `written`
    when the caller did, `since` when it declined or blocked; 0 for never. Never tells what the
    other thinks of the caller.
    """

    account: Address
    name: str
    stance: Stance
    person: str = ""
    wrote: Counter = 0
    written: Counter = 0
    since: Counter = 0


class ContactsPage(Struct):
    """`GET /v1/contacts?cursor=CURSOR`: everybody that the caller met, by address.

    `next` is given back as `cursor` for the following page, null after the last.
    """

    contacts: tuple[Contact, ...]
    next: str | None


class ContactAct(Struct):
    """`POST /v1/contacts`: what the caller wants of an account from now on. Answered by the `Contact`.

    `accept` lets it write without an answer and ends `decline` and `block`; `decline` refuses its
    messages, which it is told; `block` takes none of them, which it is not; `unblock` ends that.
    """

    account: Address
    act: Act


class ReachRules(Struct, frozen=True, omit_defaults=True):
    """`GET` and `PUT /v1/reach`: who may write to the caller first, and who finds it.

    `anyone`; `contacts`: nobody whom the caller has not written to or accepted; `listed`: those,
    and whoever has one of `professions` (codes, as directory entries have them) or belongs to one
    of `establishments` (identifiers of organisations). `red_listed`: no search finds the caller.
    """

    reached_by: Whom = "anyone"
    found_by: Whom = "anyone"
    professions: ListedCodes = ()
    establishments: ListedCodes = ()
    red_listed: bool = False
