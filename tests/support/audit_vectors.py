"""The vectors of the audit log's chain: a log that holds, and what is done to it."""

from typing import Any

import msgspec

from miss_protocol.audit import AuditEntry, Fault, Head, entry_hash
from tests.support import wire_samples as w
from tests.support.wire_text import Json

NOW = 1_790_000_000_000
DEEDS = (
    ("operator:claire", "code_made", w.ALICE, '{"expires_ms":1791209600000}'),
    ("operator:claire (sudo root)", "directory_imported", "", '{"sources":["Annuaire Santé"]}'),
    (f"account:{w.BRUNO}", "report_filed", w.ALICE, '{"kind":"advertising"}'),
    ("operator:claire", "account_suspended", w.ALICE, '{"reason":"Publicité."}'),
)


def _after(head: Head, deed: tuple[str, str, str, str]) -> AuditEntry:
    actor, action, subject, detail = deed
    fields: dict[str, Any] = {
        "seq": head.seq + 1,
        "at_ms": NOW + head.seq,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
    }
    return AuditEntry(**fields, previous=head.hash, hash=entry_hash(head.hash, **fields))


def _plain(entries: list[AuditEntry]) -> list[Json]:
    return [
        msgspec.structs.asdict(one) | {"previous": one.previous.hex(), "hash": one.hash.hex()}
        for one in entries
    ]


def audit_vectors() -> Json:
    """A log, its head, and logs that are not that one."""
    entries: list[AuditEntry] = []
    head = Head()
    for deed in DEEDS:
        entries.append(_after(head, deed))
        head = Head(entries[-1].seq, entries[-1].hash)
    first, second, third, fourth = entries
    forged = _after(Head(first.seq, first.hash), DEEDS[0])
    cases = [
        ("a detail altered", Fault.ALTERED, [first, second, third, _changed(fourth, detail="{}")]),
        ("an entry taken out", Fault.MISSING, [first, third, fourth]),
        ("the first one taken out", Fault.MISSING, [second, third, fourth]),
        ("an entry made anew", Fault.UNLINKED, [first, forged, third, fourth]),
        ("the end cut off", Fault.CUT, [first, second, third]),
        ("the end made anew", Fault.OTHER, [first, second, third, _after(
            Head(third.seq, third.hash), DEEDS[0])]),
    ]  # fmt: skip
    return {
        "about": "An audit log (spec 09-standing §1). Hashes are hexadecimal. `invalid`: logs in which "
        "somebody who kept `head` finds the fault.",
        "entries": _plain(entries),
        "head": str(head),
        "invalid": [
            {"name": name, "fault": fault.value, "entries": _plain(broken)}
            for name, fault, broken in cases
        ],
    }


def _changed(entry: AuditEntry, **change: str) -> AuditEntry:
    return msgspec.structs.replace(entry, **change)
