"""What is near a place: where it is, which entries are looked at, and how far they are (spec 05 §3.2).

Where somebody asks to be near is used for one answer: it is neither kept nor logged.
"""

import re
from collections.abc import Iterable

import msgspec

from miss_protocol.departments import of_commune
from miss_protocol.directory import Place
from miss_protocol.errors import Code, Malformed, Refused
from miss_server.storage.directory import department_mark, place_mark
from miss_server.storage.geography import Geography, Position, distance_km
from miss_server.storage.sql.asked import Clause

RINGS_KM = (5, 20, 100)
"""Around the place: the next one is looked at if a page is not full. Beyond the last, distance does not
count: nobody is sent farther."""
BEYOND = RINGS_KM[-1] + 1
SLACK_KM = 10
"""An establishment is where its source says, which may be so far from its commune's centre."""
MARKS_MAX = 400
"""Places of which one search asks: beyond, it asks for whole departments."""

_NUMBER = r"-?[0-9]{1,3}(?:\.[0-9]{1,12})?"
_DEGREES = re.compile(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*")


class _Places(msgspec.Struct):
    places: tuple[Place, ...] = ()


_read_places = msgspec.json.Decoder(_Places)


class Nearby:
    """Distances from one place."""

    def __init__(self, geography: Geography, centre: Position) -> None:
        self._geography = geography
        self._centre = centre
        self._known: dict[tuple[str, str], int | None] = {}

    def kilometres(self, places: Iterable[Place]) -> int | None:
        """To the nearest of these places, rounded; None if no source says where they are."""
        away = [km for place in places if (km := self._to(place)) is not None]
        return min(away, default=None)

    def away(self, places: Iterable[Place]) -> int:
        """By what a list is in order: as above, with all that is far alike."""
        km = self.kilometres(places)
        return BEYOND if km is None else min(km, BEYOND)

    def of_encoded(self, entry: bytes) -> int:
        """The same of an entry in JSON."""
        return self.away(_read_places.decode(entry).places)

    def ring(self, km: int) -> Clause:
        """Marks of all entries that are so near, and of some that are farther."""
        communes = [one for _, one in self._geography.near(self._centre, km + SLACK_KM)]
        codes = {code for one in communes for code in (*_codes(one.code), *one.postcodes)}
        if len(codes) > MARKS_MAX:
            return tuple(sorted({department_mark(of_commune(one.code)) for one in communes}))
        # Without a commune near, the mark of nobody.
        return tuple(sorted(map(place_mark, codes))) or (place_mark(""),)

    def _to(self, place: Place) -> int | None:
        if place.latitude is not None:
            return self._measured(place)
        key = (place.commune, place.postcode)
        if key not in self._known:
            self._known[key] = self._measured(place)
        return self._known[key]

    def _measured(self, place: Place) -> int | None:
        position = self._geography.place(place)
        return None if position is None else round(distance_km(self._centre, position))


def around(geography: Geography, near: str) -> Nearby:
    """Find the place.

    Raises:
        Malformed: degrees that are none.
        Refused: not_found, for a place that is not known, or of which there are several.
    """
    degrees = _DEGREES.fullmatch(near)
    if degrees is not None:
        centre = Position(float(degrees[1]), float(degrees[2]))
        if abs(centre.latitude) > 90 or abs(centre.longitude) > 180:
            raise Malformed("no degrees")
        return Nearby(geography, centre)
    found = geography.position("".join(near.split()).upper()) or geography.named(near)
    if found is None:
        raise Refused(Code.NOT_FOUND, "near is no place that is known")
    return Nearby(geography, found)


def _codes(code: str) -> tuple[str, ...]:
    """A commune's own code; of the three large cities, those of their districts, too, which registers
    write and tables of communes often have not."""
    first, districts = {"75056": (75101, 20), "69123": (69381, 9), "13055": (13201, 16)}.get(
        code, (0, 0)
    )
    return (code, *(str(first + number) for number in range(districts)))
