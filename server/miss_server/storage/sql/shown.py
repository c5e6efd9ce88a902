"""Entries as they are shown: with what is known of their accounts at this moment, and to whom."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, text

from miss_protocol.directory import Entry, Reach
from miss_server.storage.directory_tables import by_person, entries, persons
from miss_server.storage.sql.seekers import Seeker
from miss_server.storage.sql.words import Words

_ENTRIES_BY_ID = tuple(
    select(slot.c.id, slot.c.person, slot.c.entry).where(
        slot.c.id.in_(bindparam("keys", expanding=True))
    )
    for slot in entries
)
_ENTRIES_BY_PERSON = tuple(
    select(slot.c.id, slot.c.person, slot.c.entry)
    .select_from(found)
    .where(placed.c.person.in_(bindparam("keys", expanding=True)))
    for slot, placed, found in zip(entries, persons, by_person, strict=True)
)
# A device of an account that is not suspended makes its person reachable (or dormant).
_ACCOUNTS = """
    SELECT a.person, a.address, a.suspended OR (HIDDEN) AS hidden, (RED) AS red,
        (SELECT max(d.seen_ms) FROM devices d
         WHERE d.account = a.address AND d.revoked_ms IS NULL) AS seen
    FROM accounts a WHERE a.person IN :persons
"""
_RED = """
    :seeker <> '' AND :seeker <> a.address
        AND EXISTS (SELECT 1 FROM reach_rules r WHERE r.account = a.address AND r.red_listed)
"""

_read_entry = msgspec.json.Decoder(Entry)


class Shown:
    """Makes the entries of answers."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._accounts = {
            people: text(
                _ACCOUNTS.replace("HIDDEN", words.hidden if people else words.false).replace(
                    "RED", _RED if people else words.false
                )
            ).bindparams(bindparam("persons", expanding=True))
            for people in (False, True)
        }

    def by_id(
        self, connection: Connection, slot: int, ids: Sequence[int], seeker: Seeker
    ) -> dict[int, Entry]:
        """Entries by their numbers."""
        return self._shown(connection, _ENTRIES_BY_ID[slot], ids, seeker)

    def by_person(
        self, connection: Connection, slot: int, persons: Sequence[str], seeker: Seeker
    ) -> dict[int, Entry]:
        """Entries by identifiers; the numbers with them."""
        return self._shown(connection, _ENTRIES_BY_PERSON[slot], persons, seeker)

    def _shown(
        self, connection: Connection, statement: Any, keys: Sequence[Any], seeker: Seeker
    ) -> dict[int, Entry]:
        if not keys:
            return {}
        rows = connection.execute(statement, {"keys": list(keys)}).all()
        persons = [person for _, person, _ in rows] or [""]  # an empty list has no type
        values = self._words.seeking(seeker) | {"persons": persons}
        accounts = {
            person: told
            for person, *told in connection.execute(self._accounts[seeker.people], values)
        }
        shown = {}
        for number, person, encoded in rows:
            entry = _read_entry.decode(encoded)
            address, hidden, red, seen = accounts.get(person, (None, True, False, None))
            if red:
                entry = msgspec.structs.replace(entry, mailboxes=())
            if not hidden and seen is not None:
                reach: Reach = "dormant" if seen < seeker.dormant else "miss"
                entry = msgspec.structs.replace(entry, account=address, reach=reach)
            elif entry.mailboxes:
                entry = msgspec.structs.replace(entry, reach="mailbox")
            shown[number] = entry
        return shown
