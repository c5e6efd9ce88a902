"""Recognises an import of the very files that the directory in force was made from.

A source that stands still, or a job that runs twice a day, is read once for its digest and not a second time
for its lines: what the import before said of them is said again.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from miss_server.importers.faults import Faults
from miss_server.importers.merging import EDITION, Conflict
from miss_server.importers.readers import Reader
from miss_server.importers.reports import Progress, Report
from miss_server.words import tr


class _Faults(msgspec.Struct, array_like=True):
    count: int
    listed: list[tuple[str, int, str]]
    reasons: dict[str, int]


class _Text(msgspec.Struct, array_like=True):
    """A text as it was read. `header` and `digest` are digests of its first line and of the others."""

    source: str
    size: int
    header: bytes
    digest: bytes
    lines: int
    specialities: bool
    rejected: _Faults
    warnings: _Faults


class _Kept(msgspec.Struct):
    """An import as the next one may need it."""

    edition: bytes
    test_identifiers: bool
    texts: list[_Text]
    people: int
    organisations: int
    communes: int
    placed: int
    lines: int
    nameless: int
    conflict_count: int
    conflicts: list[Conflict]


_decode = msgspec.msgpack.Decoder(_Kept)


def kept(texts: Sequence[Reader], report: Report) -> bytes:
    """What to remember of an import whose texts were read."""
    return msgspec.msgpack.encode(
        _Kept(
            EDITION,
            _test_identifiers(texts),
            [
                _Text(
                    text.source,
                    text.size,
                    text.header,
                    text.digest,
                    text.lines,
                    text.specialities,
                    _packed(text.rejected),
                    _packed(text.warnings),
                )
                for text in texts
            ],
            report.people,
            report.organisations,
            report.communes,
            report.placed,
            report.lines,
            report.nameless,
            report.conflict_count,
            report.conflicts,
        )
    )


def repeats(
    texts: Sequence[Reader], remembered: bytes | None, report: Report, progress: Progress
) -> bool:
    """Whether these texts are those that are remembered, to the byte. If so, they and the report are as
    if they had been read; a date that their content states is read again, since their names may be others.

    Raises:
        ImportRefused: an archive is damaged.
    """
    try:
        before = _decode.decode(remembered or b"")
    except msgspec.DecodeError:
        return False  # nothing is remembered, or by another version
    if before.edition != EDITION or before.test_identifiers != _test_identifiers(texts):
        return False
    if [(one.source, one.size) for one in before.texts] != [(t.source, t.size) for t in texts]:
        return False
    for number, (text, one) in enumerate(zip(texts, before.texts, strict=True)):
        progress(tr("comparing files", "comparaison des fichiers"), number / len(texts))
        if text.digests() != (one.header, one.digest):
            return False
    for text, one in zip(texts, before.texts, strict=True):
        text.header, text.digest, text.lines = one.header, one.digest, one.lines
        text.specialities = one.specialities
        text.rejected, text.warnings = _unpacked(one.rejected), _unpacked(one.warnings)
    report.people, report.organisations = before.people, before.organisations
    report.communes, report.placed = before.communes, before.placed
    report.lines, report.nameless = before.lines, before.nameless
    report.conflict_count, report.conflicts = before.conflict_count, before.conflicts
    report.unchanged = report.people + report.organisations
    return True


def _test_identifiers(texts: Sequence[Reader]) -> bool:
    return any(text.test_identifiers for text in texts)


def _packed(faults: Faults) -> _Faults:
    return _Faults(faults.count, faults.listed, dict(faults.reasons))


def _unpacked(faults: _Faults) -> Faults:
    return Faults(faults.count, faults.listed, Counter(faults.reasons))
