"""Writes a directory aside and puts it in force: what is the same on every engine.

Entries are numbered in the order of their names with room between, so that a new one finds a number
between its neighbours without moving anybody.
"""

from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby, islice
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from miss_protocol.directory import Entry
from miss_server.storage.audit import SERVER, Action, Deed
from miss_server.storage.directory import ImportedFile, NoRoom, Record, day, sort_key
from miss_server.storage.directory_tables import by_person, entries, persons, sources, state
from miss_server.storage.geography import Commune
from miss_server.storage.schema import accounts
from miss_server.storage.sql import audit, geography, leavers, settings, vocabulary
from miss_server.storage.sql.directory import FRESHNESS, Fresh, files, generation

PAGE = 5_000
"""Rows of one reading: one long reading would let a log grow, or keep dead rows."""
ROOM = 1 << 16
"""Numbers between two entries at most; a national directory has about a thousand."""
TOGETHER = 10_000
"""New entries between two neighbours: more are not kept in memory."""
ANEW_SHARE = 0.5
"""Differences, of what is there, above which all is written anew: appending is quicker than fitting in."""
LEARNT_MAX = 100_000
"""Words that an import remembers to have written: not all of a nation, and nearly all of each slice."""
LAST = (1 << 31) - 1
"""The highest number that every engine's column holds."""

REMEMBERED = "directory import"
"""The setting with the generation (8 bytes) and what its import gave to remember."""

Numbered = tuple[int, Record]

_read_entry = msgspec.json.Decoder(Entry)


class SqlFilling(ABC):
    """What the implementations of `DirectoryFilling` share. They say how words are written, and how long
    a transaction may be."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.actor = SERVER
        """Who stands in the audit log as the importer."""
        self._generation = 0
        self.learns = False
        self._learnt: set[str] = set()
        self._anew = False

    @abstractmethod
    def slice(self) -> AbstractContextManager[Any]:
        """A short write transaction."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Any]:
        """A read transaction."""

    @abstractmethod
    def size(self) -> int:
        """Rows of the next slice."""

    @abstractmethod
    def put_entries(self, slot: int, rows: Sequence[Numbered]) -> None:
        """Write new entries, in the caller's transaction; numbers go up."""

    def drop_entries(self, slot: int, ids: Sequence[int]) -> None:
        """Take entries out, in the caller's transaction."""
        table = entries[slot]
        self.connection.execute(delete(table).where(table.c.id.in_(ids)))

    @abstractmethod
    def put_words(self, slot: int, rows: Sequence[Numbered]) -> None:
        """Let new entries be found, in the caller's transaction; numbers go up."""

    @abstractmethod
    def drop_words(self, slot: int, ids: Sequence[int]) -> None:
        """Let entries be found no more, in the caller's transaction; numbers go up."""

    @abstractmethod
    def fill(self, numbered: Iterator[Numbered]) -> None:
        """Write a whole directory into the slot aside, which is empty, and last that its vocabulary is whole;
        numbers go up."""

    @abstractmethod
    def clear(self) -> None:
        """See `DirectoryFilling`."""

    def begin(self) -> None:
        """Look which slot is in force; nobody else changes it while this import has its lock."""
        self._generation = self.read(generation)
        self.learns = self.read(vocabulary.exists)

    @property
    def slot(self) -> int:
        """The slot that is not in force."""
        return (self._generation + 1) % 2

    def read(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` in a read transaction."""
        with self.reading():
            return work(self.connection)

    def files(self) -> list[ImportedFile]:
        """See `DirectoryFilling`."""
        found: list[ImportedFile] = self.read(files)
        return found

    def known(self) -> Iterator[tuple[str, bytes]]:
        """See `DirectoryFilling`."""
        return self._digests(1 - self.slot)

    def aside(self) -> Iterator[tuple[str, bytes]]:
        """See `DirectoryFilling`."""
        self._anew = self.begins_anew()
        return iter(()) if self._anew else self._digests(self.slot)

    def begins_anew(self) -> bool:
        """Whether the slot aside cannot be amended: it was not written to its end, or by a version that kept less."""
        return self.learns and not self.read(lambda on: vocabulary.is_whole(on, self.slot))

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        """See `DirectoryFilling`."""
        if self._anew:
            self.clear()
            self._anew = False
        table, placed = entries[self.slot], persons[self.slot]
        some = iter(gone)
        while those := list(islice(some, self.size())):
            self._take_out(self._rows(placed.c.person.in_(those)))
        there = self.read(
            lambda on: on.execute(select(func.count()).select_from(table)).scalar_one()
        )
        if not there:
            self._fill(records, count)
        elif count > there * ANEW_SHARE:
            raise NoRoom
        else:
            self._fit_in(iter(records))

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`."""
        with self.slice():
            imported_ms = max((file.imported_ms for file in files), default=0)
            leavers.note(self.connection, 1 - self.slot, imported_ms)
            self.connection.execute(update(state).values(generation=self._generation + 1))
            self._note(files)
            self._remember(self._generation + 1, remembered)
        self._generation += 1
        self._learnt.clear()

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        """See `DirectoryFilling`."""
        with self.slice():
            self._note(files)
            self._remember(self._generation, remembered)

    def remembered(self) -> bytes | None:
        """See `DirectoryFilling`."""
        found = self.read(lambda on: settings.get(on, REMEMBERED)) or b""
        # By a version that remembers nothing, the directory may have been replaced since.
        if int.from_bytes(found[:8], "big") != self._generation:
            return None
        return bytes(found[8:])

    def _remember(self, generation: int, remembered: bytes) -> None:
        settings.put(self.connection, REMEMBERED, generation.to_bytes(8, "big") + remembered)

    def holders(self) -> Collection[str]:
        """See `DirectoryFilling`."""
        asked = select(accounts.c.person).where(accounts.c.person.is_not(None))
        return set(self.read(lambda on: on.execute(asked).scalars().all()))

    def communes(self) -> list[Commune]:
        """See `DirectoryFilling`."""
        found: list[Commune] = self.read(geography.read)
        return found

    def settle(self, communes: Sequence[Commune]) -> None:
        """See `DirectoryFilling`."""
        geography.write(
            self.connection, communes, self.communes(), part=self.slice, size=self.size()
        )

    def _note(self, files: Sequence[ImportedFile]) -> None:
        self.connection.execute(delete(sources))
        rows = [
            {
                "id": number,
                "name": file.name,
                "file": file.file,
                "date_ms": file.date_ms,
                "imported_ms": file.imported_ms,
                "activities": file.activities,
            }
            for number, file in enumerate(files)
        ]
        if rows:
            self.connection.execute(insert(sources), rows)
        fresh = [
            Fresh(file.name, file.file, file.digest, file.since_ms, file.kind) for file in files
        ]
        settings.put(self.connection, FRESHNESS, msgspec.json.encode(fresh))
        if files:
            told = [f"{file.name} {day(file.date_ms)}" for file in files]
            deed = Deed(self.actor, Action.DIRECTORY_IMPORTED, detail={"sources": told})
            audit.note(self.connection, deed, max(file.imported_ms for file in files))

    # --- A whole directory ------------------------------------------------------------------------

    def _fill(self, records: Iterable[Record], count: int) -> None:
        room = max(1, min(ROOM, LAST // (2 * (count + 1))))
        self.fill((place * room, record) for place, record in enumerate(records, 1))

    def _put(self, batch: Sequence[Numbered]) -> None:
        self.put_entries(self.slot, batch)
        self.put_words(self.slot, batch)
        if self.learns:
            self._learn(record for _, record in batch)

    def _learn(self, records: Iterable[Record]) -> None:
        """Let new words be known to searches that were misspelt."""
        found: set[str] = set()
        for record in records:
            found.update(record.words.split())
        found -= self._learnt
        vocabulary.learn(self.connection, self.slot, vocabulary.rows(found))
        if len(self._learnt) > LEARNT_MAX:
            self._learnt.clear()
        self._learnt |= found

    def forget_words(self) -> None:
        """The slot is being emptied, its vocabulary too."""
        self._learnt.clear()

    # --- Differences ------------------------------------------------------------------------------

    def _fit_in(self, records: Iterator[Record]) -> None:
        placed = self._placed(self._renewed(records))
        while batch := list(islice(placed, self.size())):
            with self.slice():
                self._put(batch)

    def _renewed(self, records: Iterator[Record]) -> Iterator[Record]:
        """Put records of known identifiers in the place that they have; yields those that need a new
        one, in order."""
        placed = persons[self.slot]
        while batch := list(islice(records, self.size())):
            those = [record.person for record in batch]
            old = {row.person: row for row in self._rows(placed.c.person.in_(those))}
            kept, moved, new = [], [], []
            for record in batch:
                row = old.get(record.person)
                if row is not None and _sort_of(row) == record.sort:
                    kept.append((row.id, record))
                    moved.append(row)
                    continue
                if row is not None:
                    moved.append(row)
                new.append(record)
            if moved:
                with self.slice():
                    self._drop([row.id for row in moved])
                    if kept:
                        self._put(sorted(kept, key=lambda pair: pair[0]))
            yield from new

    def _placed(self, new: Iterable[Record]) -> Iterator[Numbered]:
        """Numbers for new entries: those between the same neighbours are spread evenly.

        Raises:
            NoRoom: there are not enough between two neighbours.
        """
        for (low, high), some in groupby(self._between(new), key=lambda found: found[0]):
            fitting = [record for _, record in islice(some, TOGETHER + 1)]
            step = ROOM if high is None else (high - low) // (len(fitting) + 1)
            if len(fitting) > TOGETHER or step < 1 or low + step * len(fitting) > LAST:
                raise NoRoom
            yield from ((low + step * place, one) for place, one in enumerate(fitting, 1))

    def _between(self, new: Iterable[Record]) -> Iterator[tuple[tuple[int, int | None], Record]]:
        """The numbers of the neighbours of each new entry (None: it comes last)."""
        table = entries[self.slot]
        walk = _Walk(self._names())
        for name, group in groupby(new, key=lambda record: record.name_key):
            before, same, after = walk.to(name)
            rows = self._rows(table.c.id.in_(same)) if same else []
            sorts = [_sort_of(row) for row in rows]
            bounds = [before, *(row.id for row in rows), after]
            for record in group:
                gap = bisect(sorts, record.sort)
                yield (bounds[gap] or 0, bounds[gap + 1]), record

    def _take_out(self, rows: Sequence[Any]) -> None:
        if rows:
            with self.slice():
                self._drop([row.id for row in rows])

    def _drop(self, ids: Sequence[int]) -> None:
        self.drop_words(self.slot, sorted(ids))
        self.drop_entries(self.slot, ids)

    # --- Reading ----------------------------------------------------------------------------------

    def _rows(self, where: Any) -> list[Any]:
        table = entries[self.slot]
        statement = (
            select(table.c.id, table.c.person, table.c.name_key, table.c.entry)
            .select_from(by_person[self.slot])
            .where(where)
            .order_by(table.c.id)
        )
        rows: list[Any] = self.read(lambda on: on.execute(statement).all())
        return rows

    def _digests(self, slot: int) -> Iterator[tuple[str, bytes]]:
        table = persons[slot]
        return self._paged(
            select(table.c.person, table.c.digest)
            .where(table.c.person > bindparam("last"))
            .order_by(table.c.person),
            "",
        )

    def _names(self) -> Iterator[tuple[int, str]]:
        table = entries[self.slot]
        return self._paged(
            select(table.c.id, table.c.name_key)
            .where(table.c.id > bindparam("last"))
            .order_by(table.c.id),
            0,
        )

    def _paged(self, statement: Select[Any], last: Any) -> Iterator[Any]:
        page = statement.limit(PAGE)
        while True:
            with self.reading():
                rows = self.connection.execute(page, {"last": last}).all()
            yield from map(tuple, rows)
            if len(rows) < PAGE:
                return
            last = rows[-1][0]


def _sort_of(row: Any) -> str:
    entry = _read_entry.decode(row.entry)
    return sort_key(entry.name, entry.given, row.person)


class _Walk:
    """Goes once through the numbers and names of a slot, in order. A number that was freed on the way is
    taken for taken, and those that were given lie behind it: both are harmless."""

    def __init__(self, names: Iterator[tuple[int, str]]) -> None:
        self._names = names
        self._head = next(names, None)
        self._passed = 0

    def to(self, name: str) -> tuple[int, list[int], int | None]:
        """The number before a name, those that bear it, the one behind it (None at the end)."""
        while self._head is not None and self._head[1] < name:
            self._step()
        before, same = self._passed, []
        while self._head is not None and self._head[1] == name:
            same.append(self._head[0])
            self._step()
        return before, same, None if self._head is None else self._head[0]

    def _step(self) -> None:
        if self._head is not None:
            self._passed = self._head[0]
        self._head = next(self._names, None)
