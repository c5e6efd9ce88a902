"""Reads the national file of establishments (FINESS, "etalab"): hospitals, care homes, laboratories.

Separated by semicolons, no quoting, Latin-1 or UTF-8. It comes with a header line; the monthly stock has
none, but a first line that says what it is and lines of several kinds, of which one is used.
"""

import re
from operator import itemgetter
from typing import ClassVar

from miss_server.importers.archives import stamped
from miss_server.importers.columns import places
from miss_server.importers.identifiers import finess_fault, storable
from miss_server.importers.lines import FIELDS, ORGANISATION, SEPARATOR
from miss_server.importers.readers import Reader, Unusable

ESTABLISHMENTS = "FINESS"
STOCK = "finess;etalab"
"""How the file without a header line begins; the date of its data is at the end of that line."""
STOCK_COLUMNS = (
    "structureet", "nofinesset", "nofinessej", "rs", "rslongue", "complrs", "compldistrib",
    "numvoie", "typvoie", "voie", "compvoie", "lieuditbp", "commune", "departement",
    "libdepartement", "ligneacheminement", "telephone", "telecopie", "categetab", "libcategetab",
    "categagretab", "libcategagretab", "siret", "codeape", "codemft", "libmft", "codesph",
    "libsph", "dateouv", "dateautor", "datemaj", "numuai",
)  # fmt: skip
"""Its columns, as its publisher documents them."""
SEMICOLON = ";"

_LINES_USED = "structureet"
_DEPARTMENT = re.compile(r"[0-9]{2}|2[AB]")


class EstablishmentReader(Reader):
    """The reader of establishments."""

    source = ESTABLISHMENTS
    NEEDED: ClassVar = {"number": "nofinesset", "sign": "rs"}
    OPTIONAL: ClassVar = {
        "name": "rslongue",
        "category": "libcategetab",
        "street_number": "numvoie",
        "street_index": "compvoie",
        "street_kind": "typvoie",
        "street": "voie",
        "cedex": "ligneacheminement",
        "insee": "commune",
        "department_code": "departement",
        "department": "libdepartement",
        "phone": "telephone",
    }

    def begin(self, header: str) -> None:
        """See `Reader`."""
        self._stock = header.startswith(STOCK)
        columns = header.split(SEMICOLON)
        if self._stock:
            self.date_ms = stamped(columns[-1].replace("-", "")) or self.date_ms
            columns = list(STOCK_COLUMNS)
        self.found = places(columns, self.NEEDED, self.OPTIONAL)
        self._width = len(columns)
        self._short = 0
        wanted = ("number", "insee", *FIELDS[1:])
        self._pick = itemgetter(*(self.found.get(field, self._width) for field in wanted))

    def decode(self, raw: bytes) -> str:
        """See `Reader`. A line that is no UTF-8 is what the publisher has always written."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """See `Reader`."""
        columns = [column.strip() for column in text.split(SEMICOLON)]
        if self._stock and columns[0] != _LINES_USED:
            return None
        if len(columns) != self._width:
            if len(columns) > self._width:
                raise Unusable("too many columns")
            self._short = number
            raise Unusable("too few columns")
        columns.append("")
        finess, insee, *fields = self._pick(columns)
        if not storable(finess):
            raise Unusable("a FINESS number has nine characters")
        wrong = finess_fault(finess)
        if wrong is not None:
            self.warn(number, wrong)
        named = dict(zip(FIELDS[1:], fields, strict=True))
        named["name"] = named["name"] or named["sign"]
        if not named["name"]:
            raise Unusable("no name")
        if len(insee) == 3 and _DEPARTMENT.fullmatch(named["department_code"]):
            named["commune"] = named["department_code"] + insee  # it is numbered in its department
        named["kind"] = ORGANISATION
        return "1" + finess, SEPARATOR.join(named.values())

    def ended_short(self, number: int) -> bool:
        """See `Reader`."""
        return self._short == number
