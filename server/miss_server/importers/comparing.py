"""Compares what was read with the directory in force, and makes entries of what differs.

Merging is the larger part of a first import: `Merging` gives it to processes of their own, and while they
work this one goes on comparing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from miss_server.importers.identifiers import LOCAL
from miss_server.importers.lines import ORGANISATION
from miss_server.importers.merging import Conflict, conflict, merge
from miss_server.importers.reports import CONFLICTS_MAX, Report
from miss_server.importers.staging import Group, Staging
from miss_server.storage.directory import Record
from miss_server.working import Crew, Worker

BATCH = 400
"""Entries that a process merges at once."""


Task = tuple[str, bytes, Sequence[tuple[str, str]], bool]
"""The parts of a `Group`, and whether to merge it; otherwise only a conflict is looked for. Plain tuples
are what goes between processes with least ado."""


class Done(NamedTuple):
    """What came of some tasks."""

    records: list[Record]
    conflicts: list[Conflict]


def work(tasks: Sequence[Task]) -> Done:
    """Merge some entries."""
    done = Done([], [])
    for person, digest, packed, wanted in tasks:
        group = Group(person, digest, packed)
        told = group.told()
        found = conflict(person, told) if _may_differ(group) else None
        if found is not None:
            done.conflicts.append(found)
        if wanted:
            record = merge(person, told, digest, found)
            assert record is not None  # noqa: S101 - only what is named is wanted
            done.records.append(record)
    return done


def serve(worker: Worker) -> None:
    """Merge what comes until nothing does: a process of a `Crew`."""
    for tasks in worker.received():
        records, conflicts = work(tasks)
        worker.send(([tuple(record) for record in records], conflicts))


class Merging:
    """Takes tasks and gives their outcome, in any order; `merging` makes it."""

    def __init__(self, crew: Crew | None) -> None:
        self._crew = crew

    def done(self, tasks: Iterator[Task]) -> Iterator[Done]:
        """The outcome of all tasks."""
        batches = iter(lambda: list(islice(tasks, BATCH)), [])
        if self._crew is None:
            yield from map(work, batches)
        else:
            for records, conflicts in self._crew.mapped(batches):
                yield Done(records, conflicts)


@contextmanager
def merging(processes: int) -> Iterator[Merging]:
    """Merge in so many processes; in this one if there are none."""
    if not processes:
        yield Merging(None)
        return
    with Crew(serve, processes) as crew:
        yield Merging(crew)


class _Beside:
    """A list of (identifier, digest) that is read side by side with another one of that order."""

    def __init__(self, rows: Iterator[tuple[str, bytes]]) -> None:
        self._rows = rows
        self._head = next(rows, None)

    def until(self, person: str | None) -> Iterator[str]:
        """Identifiers before `person` (all that are left if None): the other list has none of them."""
        while self._head is not None and (person is None or self._head[0] < person):
            yield self._head[0]
            self._head = next(self._rows, None)

    def digest(self, person: str) -> bytes | None:
        """The digest of this identifier, if it comes next."""
        if self._head is None or self._head[0] != person:
            return None
        found = self._head[1]
        self._head = next(self._rows, None)
        return found


def differences(
    staging: Staging,
    known: Iterator[tuple[str, bytes]],
    aside: Iterator[tuple[str, bytes]],
    report: Report,
    merging_: Merging,
    *,
    holders: Collection[str] = (),
    keep: bool,
) -> None:
    """Count what differs from the directory in force; if told so, keep what differs from the one aside.

    `holders` are persons with an account: the report names those of them who left or came back.
    """
    in_force, before = _Beside(known), _Beside(aside)

    def note_gone(person: str) -> None:
        report.gone += 1
        if person in holders:
            report.left.append(person)

    def tasks() -> Iterator[Task]:
        counted: Counter[str] = Counter()
        for group in staging.groups():
            if not _names_anybody(group):
                report.nameless += 1
                continue
            person = group.person
            for gone in in_force.until(person):
                note_gone(gone)
            for gone in before.until(person):
                staging.drop(gone)
            old = in_force.digest(person)
            counted["added" if old is None else _same(old == group.digest)] += 1
            if old is None and person in holders:
                report.returned.append(person)
            counted["organisations" if _is_organisation(group) else "people"] += 1
            wanted = before.digest(person) != group.digest and keep
            if wanted or _may_differ(group):
                yield (*group, wanted)
        report.added, report.changed = counted["added"], counted["changed"]
        report.unchanged = counted["unchanged"]
        report.people, report.organisations = counted["people"], counted["organisations"]

    for done in merging_.done(tasks()):
        staging.keep(done.records)
        _note(done.conflicts, report)
    for gone in in_force.until(None):
        note_gone(gone)
    for gone in before.until(None):
        staging.drop(gone)
    report.conflicts = sorted(report.conflicts)[:CONFLICTS_MAX]


def _note(conflicts: Iterable[Conflict], report: Report) -> None:
    for found in conflicts:
        report.conflict_count += 1
        report.conflicts.append(found)
    if len(report.conflicts) > 2 * CONFLICTS_MAX:
        # The first ones by identifier, whichever process was quicker.
        report.conflicts = sorted(report.conflicts)[:CONFLICTS_MAX]


def _same(same: bool) -> str:
    return "unchanged" if same else "changed"


def _names_anybody(group: Group) -> bool:
    # The name is the second field of a packed line, behind the kind.
    return any(line.split("\x1f", 2)[1] for _, line in group.packed)


def _is_organisation(group: Group) -> bool:
    if group.person.startswith(LOCAL):
        return group.packed[0][1].startswith(ORGANISATION)
    return any(line.startswith(ORGANISATION) for _, line in group.packed)


def _may_differ(group: Group) -> bool:
    if len(group.packed) == 1:
        return False
    if group.person.startswith(LOCAL):
        return True
    first = group.packed[0][0]
    return any(source != first for source, _ in group.packed) and not _is_organisation(group)
