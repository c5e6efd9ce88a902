"""Who searches: what decides whom they find (rules of those found), and whom they know already.

Nobody is told that there was somebody to hide: an account that is not found is, for this seeker, none.
Spec: 05-directory §3.3, 08-meeting.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, text

from miss_protocol import limits
from miss_protocol.ids import AccountAddress
from miss_server.storage.sql.dialects import POSTGRES
from miss_server.storage.sql.meeting_words import ended_by, traits_of

_MEETS = "(k.first_ms IS NOT NULL OR k.accepted_ms IS NOT NULL)"
# `a` is the account that may be found.
_CONTACT = f"""
    EXISTS (SELECT 1 FROM relations k WHERE k.owner = a.address AND k.peer = :seeker AND {_MEETS})
"""  # noqa: S608  # constants of this file
_LISTED = """
    r.found_by = 'listed' AND (
        EXISTS (SELECT 1 FROM {professions} WHERE {within}(r.professions, p.code) > 0)
        OR EXISTS (SELECT 1 FROM {establishments} WHERE {within}(r.establishments, p.code) > 0))
"""
_HIDDEN = f"""
    (:seeker <> '' AND :seeker <> a.address AND EXISTS (
        SELECT 1 FROM reach_rules r WHERE r.account = a.address AND (
            r.red_listed OR (r.found_by <> 'anyone' AND NOT ({_LISTED}) AND NOT {_CONTACT}))))
"""  # noqa: S608  # constants of this file
_KNOWN = f"""
    EXISTS (SELECT 1 FROM relations k
            WHERE k.owner = :seeker AND k.peer = a.address AND {_MEETS}
                AND k.declined_ms IS NULL AND k.blocked_ms IS NULL)
"""  # noqa: S608  # constants of this file


def _entry(slot: int, ended: str) -> TextClause:
    return text(
        f"SELECT e.entry, {ended} FROM accounts a"  # noqa: S608  # constants of this file
        f" JOIN directory_persons_{slot} p ON p.person = a.person"
        f" JOIN directory_entries_{slot} e ON e.id = p.id AND e.person = p.person WHERE a.address = :seeker"
    )


# The schema before has no organisations that end anything.
_ENTRY = {
    (dialect, slot, people): _entry(slot, ended_by(joined) if people else "NULL")
    for dialect, joined in (("sqlite", "group_concat"), (POSTGRES, "string_agg"))
    for slot in (0, 1)
    for people in (False, True)
}


def rules(*, within: str, of: str) -> tuple[str, str]:
    """What SQL says in one engine's words: (whether the account `a` is hidden, whether it is known).

    `within` is the function that looks a text up in another one, `of` gives the texts of a list as `p.code`.
    """
    hidden = _HIDDEN.format(
        within=within,
        professions=of.format(name="professions"),
        establishments=of.format(name="establishments"),
    )
    return hidden, _KNOWN


@dataclass(frozen=True, slots=True)
class Seeker:
    """Who searches; nobody (the operator) sees everybody. Codes are as a JSON array spells them.

    `people`: whether the schema has the tables of who knows and finds whom; the one before has none, and
    everybody finds everybody. `dormant`: the time before which a device was last seen if it is dormant.
    """

    people: bool
    dormant: int
    account: str = ""
    professions: tuple[str, ...] = ()
    establishments: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """For the statements with `rules`."""
        return {
            "seeker": self.account,
            "professions": list(self.professions),
            "establishments": list(self.establishments),
        }


def seeker(
    connection: Connection, slot: int, account: AccountAddress | None, *, people: bool, now_ms: int
) -> Seeker:
    """What the directory in force says of a seeker."""
    nobody = Seeker(people, now_ms - limits.DORMANT_AFTER * 1000)
    if account is None:
        return nobody
    statement = _ENTRY[connection.dialect.name, slot, people]
    row = connection.execute(statement, {"seeker": account}).one_or_none()
    if row is None:
        return replace(nobody, account=account)
    encoded, ended = row
    traits = traits_of(bytes(encoded), ended)
    return replace(
        nobody,
        account=account,
        professions=_spelt(traits.professions),
        establishments=_spelt(traits.establishments),
    )


def _spelt(codes: Iterable[str]) -> tuple[str, ...]:
    return tuple(msgspec.json.encode(code).decode() for code in sorted(codes))
