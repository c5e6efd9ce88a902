"""Reads tables of communes: codes, postcodes and, if there, centres.

Three public files are known by their columns (`server/DIRECTORY.md`): the official base of postcodes, with
and without coordinates, and a table of communes with the coordinates of their centres. Separated by
semicolons or commas, in UTF-8 or Latin-1. A commune may have several lines.
"""

import csv
import re
from typing import ClassVar

from miss_server.importers.bars import not_separated
from miss_server.importers.columns import Names, places
from miss_server.importers.readers import Reader, Unusable
from miss_server.storage.geography import SOURCE, Commune, Position

CODES = ("Code commune INSEE", "code_insee")
POSTCODES = ("codes_postaux", "code_postal")
COMMUNE_SEPARATORS = (";", ",")

_CODE = re.compile(r"[0-9][0-9AB][0-9]{3}")
_POSTCODE = re.compile(r"[0-9]{5}")


class CommuneReader(Reader):
    """The reader of communes: they make no entries, `communes` has them afterwards."""

    source = SOURCE
    latin_1 = True
    NEEDED: ClassVar[dict[str, Names]] = {
        "code": CODES,
        "name": ("nom_standard", "nom_commune_complet", "Nom de la commune", "Nom commune"),
        "postcodes": POSTCODES,
    }
    OPTIONAL: ClassVar[dict[str, Names]] = {
        "latitude": ("latitude_centre", "latitude", "latitude_mairie"),
        "longitude": ("longitude_centre", "longitude", "longitude_mairie"),
        "position": ("coordonnees_gps", "_geopoint", "coordonnees_geographiques"),
    }

    def begin(self, header: str) -> None:
        """See `Reader`."""
        self._separator = max(COMMUNE_SEPARATORS, key=header.count)
        try:
            columns = self._split(header)
        except Unusable:
            raise not_separated() from None
        self._found = places(columns, self.NEEDED, self.OPTIONAL)
        self._width = len(columns)
        self._communes: dict[str, Commune] = {}

    @property
    def communes(self) -> list[Commune]:
        """Every commune once, with all its postcodes."""
        return list(self._communes.values())

    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """See `Reader`."""
        columns = [column.strip() for column in self._split(text)]
        if len(columns) != self._width:
            few = len(columns) < self._width
            raise Unusable("too few columns" if few else "too many columns")
        # Spreadsheets cut leading zeros off.
        code = columns[self._found["code"]].upper().rjust(5, "0")
        if not _CODE.fullmatch(code):
            raise Unusable("no code of a commune")
        name = columns[self._found["name"]]
        if not name:
            raise Unusable("no name")
        found = [
            postcode.rjust(5, "0")
            for postcode in re.split(r"[^0-9]+", columns[self._found["postcodes"]])
            if postcode
        ]
        postcodes = [postcode for postcode in found if _POSTCODE.fullmatch(postcode)]
        before = self._communes.get(code, Commune(code, name))
        self._communes[code] = before._replace(
            position=before.position or self._position(columns),
            postcodes=tuple(dict.fromkeys((*before.postcodes, *postcodes))),
        )
        return code, ""

    def _position(self, columns: list[str]) -> Position | None:
        if "latitude" in self._found and "longitude" in self._found:
            said = [columns[self._found[axis]] for axis in ("latitude", "longitude")]
        elif "position" in self._found:
            said = columns[self._found["position"]].split(",")
        else:
            return None
        if not any(said):
            return None  # its source does not know: a small island, a commune that is gone
        try:
            latitude, longitude = (round(float(part), 5) for part in said)
        except ValueError:
            raise Unusable("no coordinates") from None
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise Unusable("no coordinates")
        return Position(latitude, longitude)

    def _split(self, text: str) -> list[str]:
        try:
            (columns,) = csv.reader([text], delimiter=self._separator, strict=True)
        except (csv.Error, ValueError):
            raise Unusable("a quote that is not closed") from None
        return columns
