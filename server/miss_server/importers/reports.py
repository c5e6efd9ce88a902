"""What an import may pass, and what it says that it did."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from miss_server.importers.faults import Faults
from miss_server.importers.merging import Conflict
from miss_server.storage.directory import ImportedFile

REJECTED_SHARE = 0.01
"""Lines of a file that may be unusable: more is a damaged or another file."""
GONE_SHARE = 0.10
"""Entries of the directory in force, and lines of each source, that an import may remove: more is half
a file."""
CONFLICTS_MAX = 100
"""Conflicts that are kept for the report; all are counted."""

Progress = Callable[[str, float], None]
"""Told what is done (a text for people) and how far it is, 0 to 1."""


@dataclass(slots=True)
class Report:
    """What an import did, or would do. Lines of `rejected` and `warnings` are (file, line, why)."""

    files: list[ImportedFile] = field(default_factory=list)
    ahead: list[tuple[ImportedFile, str]] = field(default_factory=list)
    """Files with the day that they say of themselves, which is still to come."""
    people: int = 0
    organisations: int = 0
    communes: int = 0
    placed: int = 0
    """Communes whose centre is known."""
    lines: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    left: list[str] = field(default_factory=list)
    """Identifiers of people with an account who are gone; `returned`: who are in the directory again."""
    returned: list[str] = field(default_factory=list)
    nameless: int = 0
    """Identifiers that only skills or mailboxes without any name speak of: they make no entry."""
    conflict_count: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    rejected: list[Faults] = field(default_factory=list)
    warnings: list[Faults] = field(default_factory=list)
    without_specialities: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator lets pass: shares of lines and entries, sources that are left away, older files."""

    rejected: float = REJECTED_SHARE
    gone: float = GONE_SHARE
    without: Collection[str] = ()
    older: bool = False


USUAL = Allowed()
