"""Reads a technician's list of people: a CSV as a spreadsheet leaves it, with identifiers in a column.

Whatever is wrong is collected with its line: a list is corrected once, not once an error.
"""

import csv
import re
from dataclasses import dataclass, field

from miss_protocol.directory import normalise
from miss_server.importers.identifiers import RPPS, passes_luhn
from miss_server.words import Both

LIST_MAX = 8 << 20
"""Bytes: a list of every member of a national association has two."""
PERSON_MAX = 96
"""Characters of an identifier (spec 05 §1.1)."""

COLUMNS = {
    "person",
    "identifier",
    "national identifier",
    "identifiant",
    "identifiant national",
    "identifiant pp",
    "identification nationale pp",
    "rpps",
    "numero rpps",
    "n rpps",
    "no rpps",
}
"""Headings of the column of identifiers, folded."""

_SEPARATORS = (";", "\t", ",", "|")
_SHORTENED = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+?[0-9]+")
_RPPS_ALONE = re.compile(r"[0-9]{11}")
_SPACES = re.compile("[\\s\u00a0\u202f]+")


class ListError(Exception):
    """A file that is no list at all. Its text is for people."""

    def __init__(self, text: Both) -> None:
        super().__init__(str(text))


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that names nobody."""

    line: int
    why: Both


@dataclass(slots=True)
class PeopleList:
    """Whom a file names, in its order, each once; lines that name nobody; those named twice."""

    lines: dict[str, int] = field(default_factory=dict)
    """By identifier, the line that names it first."""
    faults: list[Fault] = field(default_factory=list)
    doubles: list[tuple[int, str]] = field(default_factory=list)


def read_people(content: bytes) -> PeopleList:
    """Read a list.

    UTF-8 or UTF-16 with a byte order mark, else UTF-8, else Windows-1252; columns by `;`, tab, `,` or
    `|`; with a heading that `COLUMNS` knows, or the identifiers in the first column.

    Raises:
        ListError: too large, no text, empty, or no column of identifiers.
    """
    found = PeopleList()
    rows = [(number, line) for number, line in enumerate(_text(content).splitlines(), 1)]
    rows = [(number, line) for number, line in rows if line.strip(" ;,\t|\"'\u00a0")]
    if not rows:
        raise ListError(Both("the list is empty", "la liste est vide"))
    separator = max(_SEPARATORS, key=rows[0][1].count)
    place = _column(_cells(rows[0][1], separator) or [])
    if place is None:
        place = 0
    else:
        del rows[0]
    for number, line in rows:
        cells = _cells(line, separator)
        if cells is None:
            why = Both("a quote that is not closed", "un guillemet qui n'est pas fermé")
            found.faults.append(Fault(number, why))
            continue
        person = _identifier(cells[place] if place < len(cells) else "")
        if isinstance(person, Both):
            found.faults.append(Fault(number, person))
        elif person in found.lines:
            found.doubles.append((number, person))
        else:
            found.lines[person] = number
    if not found.lines and not found.faults:
        raise ListError(Both("the list names nobody", "la liste ne nomme personne"))
    return found


def _text(content: bytes) -> str:
    if len(content) > LIST_MAX:
        raise ListError(Both("the list is larger than 8 MiB", "la liste dépasse 8 Mio"))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        codecs: tuple[str, ...] = ("utf-16",)
    else:
        codecs = ("utf-8-sig", "cp1252")
    for codec in codecs:
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ListError(
        Both(
            "this is no text: save the sheet as CSV",
            "ce n'est pas un texte : enregistrez la feuille au format CSV",
        )
    )


def _cells(line: str, separator: str) -> list[str] | None:
    # A line for itself: a quote that is never closed must not swallow the lines behind it.
    try:
        (cells,) = csv.reader([line], delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        return None
    return cells


def _column(cells: list[str]) -> int | None:
    """Where the identifiers are, if these cells are headings; None if they are a person's."""
    for place, cell in enumerate(cells):
        if " ".join(normalise(cell)) in COLUMNS:
            return place
    if any(character.isdigit() for cell in cells for character in cell):
        return None
    raise ListError(
        Both(
            "no column of identifiers: call it `person`, or leave the headings out and put it first",
            "aucune colonne d'identifiants : nommez-la `identifiant`, ou supprimez les titres et "
            "placez-la en premier",
        )
    )


def _identifier(cell: str) -> str | Both:
    """The identifier in a cell, or what is wrong with it."""
    text = _SPACES.sub("", cell)
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]  # how one keeps a spreadsheet from shortening it
    text = text.lstrip("'")
    if not text:
        return Both("no identifier", "aucun identifiant")
    if _SHORTENED.fullmatch(text):
        return Both(
            "a spreadsheet has shortened the number: format the column as text",
            "le tableur a abrégé le numéro : mettez la colonne au format texte",
        )
    if len(text) > PERSON_MAX or not text.isprintable():
        return Both("not an identifier", "ce n'est pas un identifiant")
    if _RPPS_ALONE.fullmatch(text) and passes_luhn(text):
        return RPPS + text  # the number as it stands on a doctor's stamp
    return text
