"""Where communes are: centres, postcodes, and how far one is from another.

A national table has 35,000 communes: a node keeps all of it in memory (about 20 MB), so that a search asks
no database for distances. `storage.sql.geography` reads and writes it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import asin, cos, degrees, radians, sin, sqrt
from typing import NamedTuple

from miss_protocol.directory import Place, normalise

SOURCE = "COMMUNES"
"""The name of tables of communes among a directory's sources: an old one makes nobody's data old."""
EARTH_KM = 6371.0088
"""Mean radius (IUGG)."""

_SPELT_OUT = {"st": "saint", "ste": "sainte"}
_DELIVERY = {"cedex"}


class Position(NamedTuple):
    """Degrees, WGS 84."""

    latitude: float
    longitude: float


class Commune(NamedTuple):
    """A commune: `code` is of INSEE; `position` its centre, None if no source says it."""

    code: str
    name: str
    position: Position | None = None
    postcodes: Sequence[str] = ()


def distance_km(one: Position, other: Position) -> float:
    """As the crow flies (haversine)."""
    up = radians(other.latitude - one.latitude) / 2
    across = radians(other.longitude - one.longitude) / 2
    flat = cos(radians(one.latitude)) * cos(radians(other.latitude))
    return 2 * EARTH_KM * asin(min(1.0, sqrt(sin(up) ** 2 + flat * sin(across) ** 2)))


def district(postcode: str) -> str:
    """The commune code of a district of Paris, Lyon or Marseille by its postcode; empty elsewhere.

    Registers write a district's own code, tables of communes often that of the whole city.
    """
    if len(postcode) == 5 and postcode.isdecimal():
        number = postcode[3:]
        if postcode.startswith("750") and 1 <= int(number) <= 20:
            return "751" + number
        if postcode == "75116":
            return postcode
        if postcode.startswith("6900") and 1 <= int(number) <= 9:
            return "6938" + postcode[4]
        if postcode.startswith("130") and 1 <= int(number) <= 16:
            return "132" + number
    return ""


def whole_city(code: str) -> str:
    """The commune that a district belongs to; the code itself elsewhere."""
    if code.startswith("751"):
        return "75056"
    if code.startswith("6938") and len(code) == 5:
        return "69123"
    return "13055" if code.startswith("132") else code


class Geography:
    """The communes of one edition. It never changes, and may be shared between threads."""

    def __init__(self, communes: Iterable[Commune] = ()) -> None:
        self._communes = {commune.code: commune for commune in communes}
        self._by_postcode: dict[str, list[Commune]] = {}
        for commune in self._communes.values():
            for postcode in commune.postcodes:
                self._by_postcode.setdefault(postcode, []).append(commune)

    def __len__(self) -> int:
        return len(self._communes)

    def __iter__(self) -> Iterator[Commune]:
        return iter(self._communes.values())

    def commune(self, code: str) -> Commune | None:
        """A commune by its INSEE code; for a district that is unknown, the whole city."""
        return self._communes.get(code) or self._communes.get(whole_city(code))

    def position(self, code: str) -> Position | None:
        """The centre of a commune (INSEE code), or of those of a postcode."""
        commune = self.commune(code)
        if commune is not None and commune.position is not None:
            return commune.position
        of_district = self.commune(district(code))
        here = [of_district] if of_district is not None else self._by_postcode.get(code, [])
        known = [one.position for one in here if one.position is not None]
        if not known:
            return None
        return Position(
            sum(one.latitude for one in known) / len(known),
            sum(one.longitude for one in known) / len(known),
        )

    def place(self, place: Place) -> Position | None:
        """Where a place of an entry is: its own position, else its commune's, else its postcode's."""
        if place.latitude is not None and place.longitude is not None:
            return Position(place.latitude, place.longitude)
        found = self.position(place.commune) if place.commune else None
        return found or (self.position(place.postcode) if place.postcode else None)

    def near(self, centre: Position, km: float) -> list[tuple[float, Commune]]:
        """(kilometres, commune) of all whose centre is within `km`, the nearest first."""
        latitudes, communes = self._by_latitude
        # A degree of latitude is the same everywhere; the slack is for the rounding of floats.
        reach = degrees(km / EARTH_KM) * 1.001
        first = bisect_left(latitudes, centre.latitude - reach)
        last = bisect_right(latitudes, centre.latitude + reach)
        found = [
            (distance_km(centre, commune.position), commune)
            for commune in communes[first:last]
            if commune.position is not None
        ]
        return sorted(pair for pair in found if pair[0] <= km)

    def code(self, postcode: str, city: str) -> str:
        """The INSEE code by a postcode and a city as people and registers write them; empty if it is not
        certain. A postcode of a business ("59037 LILLE CEDEX") is found by its department."""
        of_district = district(postcode)
        if of_district:
            return of_district
        here = self._by_postcode.get(postcode, ())
        if len(here) == 1:
            return here[0].code
        name = _city(city)
        if not name:
            return ""
        if here:
            found = [one.code for one in here if _city(one.name) == name]
        else:
            found = self._by_name.get((_department(postcode), name), [])
        return found[0] if len(found) == 1 else ""

    def named(self, text: str) -> Position | None:
        """The centre of the commune of this name (of any spelling), if there is one such only; a department's
        number behind it chooses: "Saint-Denis 974"."""
        name, _, number = text.strip().rpartition(" ")
        chosen = self._by_name.get((number.upper().strip("()"), _city(name)), []) if name else []
        if not chosen:
            chosen = self._named.get(_city(text), [])
        found = [self._communes[code].position for code in chosen]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _named(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for (_, name), codes in self._by_name.items():
            found.setdefault(name, []).extend(codes)
        return found

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for one in self._communes.values():
            found.setdefault((_department(one.code), _city(one.name)), []).append(one.code)
        return found

    @cached_property
    def _by_latitude(self) -> tuple[list[float], list[Commune]]:
        placed = sorted(
            (one.position.latitude, one.code)
            for one in self._communes.values()
            if one.position is not None
        )
        return [latitude for latitude, _ in placed], [self._communes[code] for _, code in placed]


def _department(code: str) -> str:
    """Of a commune code or a postcode: Corsica is one, for its postcodes do not tell."""
    if code.startswith(("97", "98")):
        return code[:3]
    return "20" if code.startswith(("20", "2A", "2B")) else code[:2]


def _city(name: str) -> str:
    words = [_SPELT_OUT.get(word, word) for word in normalise(name)]
    while len(words) > 1 and (words[-1] in _DELIVERY or words[-1].isdecimal()):
        words.pop()  # "LILLE CEDEX 9", "LYON 03"
    return " ".join(words)
