"""Reads the national file of establishments (FINESS, "etalab"): hospitals, care homes, laboratories.

Separated by semicolons, no quoting, Latin-1 or UTF-8. It comes with a header line; the monthly stock has
none, but a first line that says what it is and lines of several kinds, of which one is used.
"""

import re
from operator import itemgetter
from typing import ClassVar

from miss_server.importers.archives import stamped
from miss_server.importers.columns import Names, places
from miss_server.importers.identifiers import finess_fault, is_plain
from miss_server.importers.lines import FIELDS, ORGANISATION, SEPARATOR, Line
from miss_server.importers.projections import LAMBERT_93, projection
from miss_server.importers.readers import Reader, Unusable
from miss_server.importers.surveying import Survey
from miss_server.storage.geography import Position

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

_ESTABLISHMENT, _POSITION = "structureet", "geolocalisation"
_POSITION_COLUMNS = 6
_DEPARTMENT = re.compile(r"[0-9]{2}|2[AB]")
_OVERSEAS = re.compile(r"9[A-H]")
"""How this source numbers departments overseas (971 is 9A, 974 is 9D): their communes have the digits of
the department's third in front."""
_COMMUNE = re.compile(r"[0-9][0-9AB][0-9]{3}")
_POSTCODE = re.compile(r"[0-9]{5}")
_METROPOLE = ((41.0, 51.5), (-5.5, 10.0))
"""Latitudes and longitudes from Bonifacio to Dunkirk, from Ouessant to Bastia."""
_ELSEWHERE = ((-22.0, 48.0), (-64.0, 56.0))
"""From La Réunion to Saint-Pierre-et-Miquelon, from Saint-Martin to La Réunion."""


class EstablishmentReader(Reader):
    """The reader of establishments."""

    source = ESTABLISHMENTS
    latin_1 = True
    NEEDED: ClassVar[dict[str, Names]] = {"number": "nofinesset", "sign": "rs"}
    OPTIONAL: ClassVar[dict[str, Names]] = {
        "name": "rslongue",
        "category": ("liblongcategetab", "libcategetab"),
        "street_number": "numvoie",
        "street_index": "compvoie",
        "street_kind": "typvoie",
        "street": "voie",
        "cedex": "ligneacheminement",
        "postcode": "codepostal",
        "city": "libelle_routage",
        "commune": "cog",
        "insee": "commune",
        "east": ("coordx", "coordxet"),
        "north": ("coordy", "coordyet"),
        "department_code": "departement",
        "department": "libdepartement",
        "phone": "telephone",
    }

    def told_date(self, header: str) -> int | None:
        """See `Reader`."""
        if not header.startswith(STOCK):
            return None
        return stamped(header.rsplit(SEMICOLON, 1)[-1].replace("-", ""))

    def begin(self, header: str) -> None:
        """See `Reader`."""
        self._stock = header.startswith(STOCK)
        columns = header.split(SEMICOLON)
        if self._stock:
            columns = list(STOCK_COLUMNS)
        self.found = places(columns, self.NEEDED, self.OPTIONAL)
        self._width = len(columns)
        self._short = 0
        wanted = ("number", "insee", "east", "north", *FIELDS[1:])
        self._pick = itemgetter(*(self.found.get(field, self._width) for field in wanted))
        self.survey = Survey()
        self._communes: dict[str, str] = {}

    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """See `Reader`."""
        columns = [column.strip() for column in text.split(SEMICOLON)]
        places_it = self._stock and columns[0] == _POSITION
        if self._stock and columns[0] != _ESTABLISHMENT and not places_it:
            return None
        width = _POSITION_COLUMNS if places_it else self._width
        if len(columns) != width:
            if len(columns) > width:
                raise Unusable("too many columns")
            self._short = number
            raise Unusable("too few columns")
        if places_it:
            return self._placed(columns, number)
        columns.append("")
        finess, insee, east, north, *fields = self._pick(columns)
        if not is_plain(finess):
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
        elif len(insee) == 3 and _OVERSEAS.fullmatch(named["department_code"]):
            named["commune"] = "97" + insee
        elif _COMMUNE.fullmatch(insee):
            named["commune"] = insee
        named["kind"] = ORGANISATION
        named["position"] = self._position(named["commune"], east, north, number)
        if self._stock:
            self._communes[finess] = named["commune"]
        if named["commune"]:
            postcode = named["postcode"] if _POSTCODE.fullmatch(named["postcode"]) else ""
            self.survey.name(named["commune"], named["city"], postcode)
        return "1" + finess, SEPARATOR.join(named.values())

    def _placed(self, columns: list[str], number: int) -> tuple[str, str] | None:
        """A line of the stock that says where an establishment is, whose own line came before it."""
        _, finess, east, north, _, _ = columns
        commune = self._communes.get(finess)
        if commune is None:
            return None  # of an establishment that is left out, or closed
        position = self._position(commune, east, north, number)
        line = Line("1" + finess, kind=ORGANISATION, position=position)
        return (line.key, line.packed()) if position else None

    def _position(self, commune: str, east: str, north: str, number: int) -> str:
        """Degrees as they are put aside; empty where the source does not know them, or errs: an
        establishment without a position is still one."""
        if not (commune and east and north):
            return ""
        used = projection(commune)
        try:
            found = used.degrees(float(east), float(north))
        except (ValueError, OverflowError, ZeroDivisionError):
            self.warnings.add(self.name, number, "no coordinates")
            return ""
        position = Position(*(round(axis, 5) for axis in found))
        bounds = _METROPOLE if used is LAMBERT_93 else _ELSEWHERE
        if not all(low < axis < high for axis, (low, high) in zip(position, bounds, strict=True)):
            self.warnings.add(self.name, number, "coordinates that are not in France")
            return ""
        self.survey.add(commune, position)
        return f"{position.latitude} {position.longitude}"

    def ended_short(self, number: int) -> bool:
        """See `Reader`."""
        return self._short == number
