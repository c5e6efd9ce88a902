"""Reads a file of activities, line by line, and says which lines cannot be used and why."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from miss_server.importers.faults import Faults
from miss_server.importers.identifiers import fault, storable
from miss_server.importers.layout import FIELDS, SEPARATOR, Layout, read_header
from miss_server.importers.refusal import ImportRefused
from miss_server.words import tr

LINE_MAX = 16 * 1024
"""Bytes of a line: real ones have 300 to 900. A file without line ends must not fill the memory."""

_STAMP = re.compile(r"_(\d{14})(?!\d)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ZIP = b"PK\x03\x04"


class Activity(NamedTuple):
    """One line: one activity of one person. The fields are `layout.FIELDS`, stripped."""

    type: str
    number: str
    national: str
    title: str
    civility: str
    name: str
    given: str
    profession_code: str
    profession: str
    organisation: str
    street_number: str
    street_kind: str
    street: str
    cedex: str
    postcode: str
    city: str
    country: str
    phone: str
    department_code: str
    department: str
    speciality: str
    sign: str
    street_index: str


class _Unusable(Exception):
    """A line that is left out; the text says why."""


class ActivityFile:
    """A file of activities: iterating it reads it once, in bounded memory.

    Args:
        path: the text file as the register publishes it, unpacked.
        test_identifiers: keep persons whose identifier is wrong, with a warning.

    Iterating raises `ImportRefused` when the file as a whole cannot be used. Afterwards `lines`,
    `rejected` and `warnings` are complete; `read` (bytes) tells how far it is.
    """

    def __init__(self, path: Path, *, test_identifiers: bool = False) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.date_ms = _date_ms(path)
        self.read = 0
        self.lines = 0
        self.rejected = Faults()
        self.warnings = Faults()
        self.specialities = True
        self._test_identifiers = test_identifiers
        self._short_line = 0

    def __iter__(self) -> Iterator[Activity]:
        with self.path.open("rb") as file:
            layout = self._header(file)
            self.specialities = layout.specialities
            number = 1
            while raw := file.readline(LINE_MAX + 1):
                number += 1
                self.read += len(raw)
                if len(raw) > LINE_MAX:
                    self._refuse_long_line(number)
                if not raw.endswith(b"\n"):
                    raise self._cut()
                if raw.strip():
                    self.lines += 1
                    try:
                        activity = self._line(raw, number, layout)
                    except _Unusable as error:
                        self.rejected.add(self.path.name, number, str(error))
                    else:
                        yield activity
            # A file that lost its end exactly in or behind a line's last separator.
            if self._short_line == number:
                raise self._cut()

    def _header(self, file: BinaryIO) -> Layout:
        raw = file.readline(LINE_MAX + 1)
        self.read = len(raw)
        if raw.startswith(_ZIP):
            raise ImportRefused(
                tr(f"{self.path.name} is a zip archive.", f"{self.path.name} est une archive zip."),
                tr(
                    "Unpack it and import the text file that is in it.",
                    "Décompressez-la et importez le fichier texte qu'elle contient.",
                ),
            )
        try:
            header = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ImportRefused(
                tr(
                    f"{self.path.name} is not UTF-8 (it looks like Latin-1).",
                    f"{self.path.name} n'est pas en UTF-8 (mais sans doute en Latin-1).",
                ),
                tr(
                    "Import the file as it was published, or convert it first:"
                    " iconv -f latin1 -t utf-8.",
                    "Importez le fichier tel qu'il est publié, ou convertissez-le d'abord :"
                    " iconv -f latin1 -t utf-8.",
                ),
            ) from None
        if not header.strip():
            raise ImportRefused(
                tr(f"{self.path.name} is empty.", f"{self.path.name} est vide."),
                tr("Download it again.", "Téléchargez-le à nouveau."),
            )
        if not header.endswith("\n"):
            if len(raw) > LINE_MAX:
                self._refuse_long_line(1)
            raise self._cut()
        return read_header(header.rstrip("\r\n"))

    def _line(self, raw: bytes, number: int, layout: Layout) -> Activity:
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise _Unusable("not UTF-8") from None
        if _CONTROLS.search(text):
            # Such a name could forge a line of the operator's terminal or of a log.
            raise _Unusable("a control character")
        columns = text.split(SEPARATOR)
        if len(columns) != layout.width:
            if len(columns) > layout.width:
                raise _Unusable("too many columns")
            self._short_line = number
            raise _Unusable("too few columns")
        activity = Activity(
            *[columns[place].strip() if place >= 0 else "" for place in layout.places]
        )
        if not activity.name:
            raise _Unusable("no name")
        wrong = fault(activity.type, activity.number, activity.national)
        if wrong is not None:
            if not (self._test_identifiers and storable(activity.national)):
                raise _Unusable(wrong)
            self.warnings.add(self.path.name, number, wrong)
        return activity

    def _cut(self) -> ImportRefused:
        return ImportRefused(
            tr(
                f"{self.path.name} is cut short: its last line is not complete.",
                f"{self.path.name} est tronqué : sa dernière ligne est incomplète.",
            ),
            tr("Download it again.", "Téléchargez-le à nouveau."),
        )

    def _refuse_long_line(self, number: int) -> None:
        raise ImportRefused(
            tr(
                f"Line {number} of {self.path.name} has more than {LINE_MAX} bytes.",
                f"La ligne {number} de {self.path.name} dépasse {LINE_MAX} octets.",
            ),
            tr(
                "This is not a file of the register, or it is damaged: download it again.",
                "Ce n'est pas un fichier du répertoire, ou il est abîmé : téléchargez-le à"
                " nouveau.",
            ),
        )


assert Activity._fields == FIELDS  # noqa: S101 - both are written here; a test would come too late


def _date_ms(path: Path) -> int:
    stamp = _STAMP.search(path.name)
    if stamp:
        try:
            made = datetime.strptime(stamp[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            return int(made.timestamp() * 1000)
        except ValueError:
            pass  # fourteen digits that are no date: the file's own time it is
    return int(path.stat().st_mtime * 1000)
