"""The chain of an audit log: whatever is done to entries that were written shows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from miss_protocol.audit import START, AuditEntry, Chain, Fault, Head, entry_hash, parse_head
from miss_protocol.errors import Malformed

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "protocol" / "vectors" / "audit.json").read_text("utf-8")
)


def entry(before: Head, subject: str) -> AuditEntry:
    fields: dict[str, Any] = {
        "seq": before.seq + 1,
        "at_ms": 1_790_000_000_000,
        "actor": "operator:claire",
        "action": "code_made",
        "subject": subject,
        "detail": "{}",
    }
    return AuditEntry(**fields, previous=before.hash, hash=entry_hash(before.hash, **fields))


def log(*subjects: str) -> list[AuditEntry]:
    made: list[AuditEntry] = []
    head = Head()
    for subject in subjects:
        made.append(entry(head, subject))
        head = Head(made[-1].seq, made[-1].hash)
    return made


def head_of(entries: list[AuditEntry]) -> Head:
    return Head(entries[-1].seq, entries[-1].hash)


def first_fault(entries: list[AuditEntry], expected: Head | None = None) -> Fault | None:
    chain = Chain(expected=expected)
    for one in entries:
        if fault := chain.follow(one):
            return fault
    return chain.end()


def test_a_log_holds_and_reaches_each_of_its_heads() -> None:
    entries = log("a", "b", "c")
    assert first_fault(entries) is None
    for kept in (Head(), *(Head(one.seq, one.hash) for one in entries)):
        assert first_fault(entries, kept) is None
    assert first_fault([]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"at_ms": 1},
        {"actor": "server"},
        {"action": "account_suspended"},
        {"subject": "c"},
        {"detail": '{"n":1}'},
        {"previous": START},
        {"hash": START},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_field_shows(change: dict[str, Any]) -> None:
    entries = log("a", "b", "c")
    entries[1] = msgspec.structs.replace(entries[1], **change)
    assert first_fault(entries) is Fault.ALTERED


@pytest.mark.parametrize(
    "change",
    [
        {"at_ms": "yesterday"},
        {"at_ms": 1.5},
        {"at_ms": -1},
        {"at_ms": 2**64},
        {"actor": b"\xffA"},
        {"actor": 7},
        {"detail": "\ud800"},
        {"previous": "none"},
        {"hash": None},
    ],
    ids=str,
)
def test_what_was_never_written_so_was_altered(change: dict[str, Any]) -> None:
    """Some databases, and any file of JSON lines, hold whatever somebody put there."""
    entries = log("a", "b", "c")
    entries[1] = msgspec.structs.replace(entries[1], **change)
    assert first_fault(entries) is Fault.ALTERED


def test_entries_that_were_taken_out_put_in_or_moved_show() -> None:
    a, b, c = log("a", "b", "c")
    assert first_fault([a, c]) is Fault.MISSING
    assert first_fault([b, c]) is Fault.MISSING
    assert first_fault([a, b, b, c]) is Fault.MISSING
    moved = [a, *(msgspec.structs.replace(one, seq=seq) for one, seq in ((c, 2), (b, 3)))]
    assert first_fault(moved) is Fault.ALTERED


def test_an_entry_made_anew_with_a_hash_of_its_own_shows_at_the_next() -> None:
    a, _, c = log("a", "b", "c")
    forged = entry(Head(a.seq, a.hash), "somebody else")
    assert first_fault([a, forged, c]) is Fault.UNLINKED


def test_only_a_kept_head_shows_an_end_that_was_cut_or_made_anew() -> None:
    entries = log("a", "b", "c")
    kept = head_of(entries)
    assert first_fault(entries[:2]) is None
    assert first_fault(entries[:2], kept) is Fault.CUT
    assert first_fault([], kept) is Fault.CUT
    assert first_fault(log("a", "b", "x", "y"), kept) is Fault.OTHER


def test_a_head_is_read_as_it_is_written() -> None:
    head = head_of(log("a"))
    assert parse_head(f" {head}\n") == head
    assert str(replace(head, seq=0, hash=START)) == f"0:{'00' * 32}"
    for text in ("", "1", "1:ff", f"x:{'0' * 64}", f"1:{'g' * 64}", f"²:{'0' * 64}"):
        with pytest.raises(Malformed):
            parse_head(text)


def test_the_vectors_hold() -> None:
    entries = [msgspec.convert(_bytes(one), AuditEntry) for one in VECTORS["entries"]]
    assert first_fault(entries, parse_head(VECTORS["head"])) is None
    for case in VECTORS["invalid"]:
        broken = [msgspec.convert(_bytes(one), AuditEntry) for one in case["entries"]]
        fault = first_fault(broken, parse_head(VECTORS["head"]))
        assert fault is not None
        assert fault.value == case["fault"], case["name"]


def _bytes(one: dict[str, Any]) -> dict[str, Any]:
    return one | {name: bytes.fromhex(one[name]) for name in ("previous", "hash")}
