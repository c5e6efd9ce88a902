"""What both engines' statements about first contacts have in common, and how their columns are read."""

from functools import lru_cache

import msgspec
from sqlalchemy import Connection

from miss_protocol.directory import Entry
from miss_server.storage.directory import UNNUMBERED_LIKE
from miss_server.storage.settlement.meeting import Reach, Traits
from miss_server.storage.sql import schemas

SINCE = 2
"""The schema that brought the tables."""

ANSWERED = (
    "EXISTS (SELECT 1 FROM relations back WHERE back.owner = mine.peer AND back.peer = mine.owner"
    " AND (back.first_ms IS NOT NULL OR back.accepted_ms IS NOT NULL))"
)
"""Whether the peer of the relation `mine` wrote back or accepted: it then costs no budget."""

SETTLED = (
    "mine.first_ms IS NOT NULL AND mine.unanswered = 0 AND mine.declined_ms IS NULL"
    " AND (theirs.first_ms IS NOT NULL OR theirs.accepted_ms IS NOT NULL)"
    " AND theirs.declined_ms IS NULL AND theirs.blocked_ms IS NULL"
)
"""Whether what the owner of the relation `mine` sends to its peer, whose relation is `theirs`, needs no look
and changes nothing: each wrote to the other, or was accepted after writing, and nothing is unanswered,
declined or blocked. No send of either unsettles them, so it holds for a whole batch."""

_BETWEEN = "\x1f"


def ended_by(joined: str) -> str:
    """The column of organisations that vouch no more for the person of the account `a`, separated: of a
    person without a national number, who is theirs by the directory alone.

    `joined` is the engine's function that puts texts together.
    """
    unnumbered = " OR ".join(f"o.person LIKE '{pattern}'" for pattern in UNNUMBERED_LIKE)
    return (
        f"(SELECT {joined}(o.organisation, '{_BETWEEN}') FROM organisation_people o"  # noqa: S608  # our own
        f" WHERE o.person = a.person AND ({unnumbered}) AND o.ended_ms IS NOT NULL)"
    )


_decode_list = msgspec.json.Decoder(frozenset[str]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode


def meets(connection: Connection) -> bool:
    """Whether the database has the tables of `meeting_tables`, as from the second schema on."""
    return schemas.has(connection, SINCE)


@lru_cache(maxsize=1024)
def reach_of(
    account: str, reached_by: str, professions: str, establishments: str
) -> tuple[str, Reach]:
    """Read a row of `reach_rules`."""
    return account, Reach(reached_by, _decode_list(professions), _decode_list(establishments))


def traits_of(entry: bytes, ended: str | None) -> Traits:
    """What others may let somebody reach or find them by: the profession's code, and the identifiers of the
    organisations that the directory's entry is, belongs to or has as a place of work (spec 08 §4).

    `ended` are organisations that vouch no more, as `ended_by` gives them (spec 11 §6.1).
    """
    found = _decode_entry(entry)
    organisations = {found.person, found.part_of, *(place.establishment for place in found.places)}
    if ended:
        organisations.difference_update(ended.split(_BETWEEN))
    return Traits(
        frozenset({found.profession_code} - {""}),
        frozenset(organisations - {""}),
    )
