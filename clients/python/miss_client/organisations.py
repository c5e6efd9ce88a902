"""What an organisation's administrator does about its people. Spec: 11-accounts §6.

Every call may be repeated after a lost reply: what was done before is done, and `issue` gives the same
code for the same request.
"""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from miss_client.calls import Calls, Nothing
from miss_client.clock import random
from miss_client.errors import Unreachable
from miss_protocol.api import Rosters
from miss_protocol.identity import roster
from miss_protocol.identity.roster import RosterEntry
from miss_protocol.organisations import (
    Administered,
    AdministeredList,
    CodeIssued,
    CodeWanted,
    DevicesNamed,
    OrganisationDone,
    OrganisationPage,
    OrganisationPerson,
    PersonOfOrganisation,
)

TRIES = 3
"""Times that a code is asked for under one request id, when no answer comes."""


async def administered(calls: Calls) -> tuple[Administered, ...]:
    """The organisations for which this account acts. Raises as any call."""
    return (await calls.get("/v1/organisations", AdministeredList)).organisations


async def people(calls: Calls, organisation: str) -> list[OrganisationPerson]:
    """An organisation's people, all pages of them.

    Raises:
        RefusedByServer: not_allowed, this account does not act for it; not_found, it has left the
            directory.
    """
    found: list[OrganisationPerson] = []
    cursor: str | None = ""
    while cursor is not None:
        more = [("cursor", cursor)] if cursor else []
        page = await calls.get(f"{_path(organisation)}/people", OrganisationPage, more)
        found += page.people
        cursor = page.next
    return found


async def attest(calls: Calls, organisation: str, person: str) -> None:
    """Vouch for somebody without a national number, or vouch for them again. Raises as `end`."""
    await _post(calls, f"{_path(organisation)}/people", PersonOfOrganisation(person))


async def end(calls: Calls, organisation: str, person: str) -> None:
    """Have nothing to do with somebody any more: codes that wait end, and who has no national number
    and nobody else who vouches loses access at once.

    Raises:
        RefusedByServer: not_found, nobody of this organisation; not_allowed, another administrator.
    """
    await _post(calls, f"{_path(organisation)}/people/end", PersonOfOrganisation(person))


async def issue(calls: Calls, organisation: str, person: str) -> CodeIssued:
    """An enrolment code for one of the organisation's people: for them only.

    Raises:
        RefusedByServer: not_found, nobody of this organisation; already_enrolled; rate_limited.
        Unreachable: no answer came, several times; a code may wait, and the next one ends it.
    """
    wanted = CodeWanted(person, random(16))
    for left in reversed(range(TRIES)):
        try:
            return await calls.post(f"{_path(organisation)}/codes", wanted, CodeIssued)
        except Unreachable:
            if not left:
                raise
    raise AssertionError  # pragma: no cover  # the last try returns or raises


async def end_codes(calls: Calls, organisation: str, person: str) -> None:
    """End codes that the organisation issued and nobody used. Raises as `end`."""
    await _post(calls, f"{_path(organisation)}/codes/end", PersonOfOrganisation(person))


async def devices(calls: Calls, account: str) -> tuple[RosterEntry, ...]:
    """The devices of somebody, by the server's word: to choose from, not to write to."""
    chain = await calls.get(f"/v1/accounts/{quote(account, safe='@')}/rosters", Rosters)
    return tuple(roster.decode(chain.rosters[-1]).entries)


async def end_devices(calls: Calls, organisation: str, person: str, some: Sequence[bytes]) -> None:
    """End devices of somebody for whom the organisation alone vouches. Raises as `end`."""
    named = DevicesNamed(person, tuple(some))
    await _post(calls, f"{_path(organisation)}/devices/end", named)


async def leave(calls: Calls, organisation: str) -> None:
    """Act for an organisation no more."""
    await _post(calls, f"{_path(organisation)}/leave", Nothing())


async def _post(calls: Calls, path: str, body: msgspec.Struct) -> None:
    await calls.post(path, body, OrganisationDone)


def _path(organisation: str) -> str:
    return f"/v1/organisations/{quote(organisation, safe='')}"
