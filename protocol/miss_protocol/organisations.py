"""Organisations' administrators and their people: the bodies of the HTTP calls. Spec: 11-accounts §6."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from miss_protocol import limits
from miss_protocol.frames import Address, Counter, Id16
from miss_protocol.invitations import PersonId

PersonState = Literal["uninvited", "invited", "enrolled", "ended"]
"""`uninvited`: no code is out that could be used; `invited`: one is; `enrolled`: there is a device;
`ended`: the organisation has nothing to do with them any more."""


class Administered(Struct, frozen=True):
    """An organisation for which this account acts. `left` is how many more codes it may issue today."""

    organisation: str
    name: str
    left: Counter


class AdministeredList(Struct, frozen=True):
    """`GET /v1/organisations`: those for which this account may act at present."""

    organisations: tuple[Administered, ...]


class OrganisationPerson(Struct, frozen=True):
    """Somebody of an organisation. `name` is empty for who has left the directory.

    `account` is told of people for whom the organisation vouches, once they are enrolled; `expires`
    (milliseconds) of a code that can still be used.
    """

    person: str
    name: str
    state: PersonState
    account: Address | None = None
    expires: Counter | None = None


class OrganisationPage(Struct, frozen=True):
    """`GET /v1/organisations/{organisation}/people?cursor=CURSOR`: its people, by identifier.

    `next` is given back as `cursor` for the following page, null after the last.
    """

    people: tuple[OrganisationPerson, ...]
    next: str | None


class PersonOfOrganisation(Struct):
    """`POST /v1/organisations/{organisation}/people`: vouch for somebody without a national number;
    `…/people/end`: have nothing to do with somebody any more; `…/codes/end`: end codes that wait."""

    person: PersonId


class CodeWanted(Struct):
    """`POST /v1/organisations/{organisation}/codes`: an enrolment code for one of its people.

    `request` is 16 random bytes that were never used before and are told to nobody: the same call
    repeated with them answers the same code.
    """

    person: PersonId
    request: Id16


class CodeIssued(Struct):
    """A code to hand over, to this person only. `expires` in milliseconds."""

    person: str
    name: str
    code: str
    expires: Counter


class DevicesNamed(Struct):
    """`POST /v1/organisations/{organisation}/devices/end`: end devices of somebody for whom the
    organisation alone vouches."""

    person: PersonId
    devices: Annotated[
        tuple[Id16, ...], Meta(min_length=1, max_length=limits.DEVICES_PER_ACCOUNT_MAX)
    ]


class OrganisationDone(Struct, frozen=True):
    """An act of an administrator is done; also if it had been done before."""

    organisation: str
