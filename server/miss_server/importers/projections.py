"""Coordinates of French national maps as latitude and longitude.

Formulas: conformal conic with two standard parallels, and transverse Mercator by series in the third
flattening up to its third power (millimetres within a zone): IOGP Guidance Note 7-2, methods 9802 and
9807. Constants of the zones: RGF93 / Lambert-93 (EPSG:2154) and the UTM zones of overseas departments.
All of them use the GRS 80 ellipsoid, whose difference from WGS 84 nobody sees on a map.
"""

from dataclasses import dataclass
from math import (
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    degrees,
    exp,
    hypot,
    log,
    pi,
    radians,
    sin,
    sinh,
    sqrt,
    tan,
)
from typing import Protocol

_A, _F = 6_378_137.0, 1 / 298.257222101
_E = sqrt(_F * (2 - _F))
_TURNS = 6
"""Iterations for a latitude: each gains three digits."""


class Projection(Protocol):
    """A map's way from degrees to metres and back."""

    def metres(self, latitude: float, longitude: float) -> tuple[float, float]:
        """East and north of degrees."""
        ...

    def degrees(self, east: float, north: float) -> tuple[float, float]:
        """Latitude and longitude of metres."""
        ...


def _isometric(latitude: float) -> float:
    return asinh(tan(latitude)) - _E * atanh(_E * sin(latitude))


def _latitude(isometric: float) -> float:
    found = 0.0
    for _ in range(_TURNS):
        found = atan(sinh(isometric + _E * atanh(_E * sin(found))))
    return found


class Conic:
    """A conformal conic projection with two standard parallels; degrees and metres."""

    def __init__(
        self, south: float, north: float, origin: tuple[float, float], false: tuple[float, float]
    ) -> None:
        def width(latitude: float) -> float:
            return cos(latitude) / sqrt(1 - (_E * sin(latitude)) ** 2)

        low, high = radians(south), radians(north)
        self._n = log(width(low) / width(high)) / (_isometric(high) - _isometric(low))
        self._scale = _A * width(low) * exp(self._n * _isometric(low)) / self._n
        self._meridian = radians(origin[1])
        self._east, self._north = false
        self._top = self._radius(radians(origin[0]))

    def _radius(self, latitude: float) -> float:
        return self._scale * exp(-self._n * _isometric(latitude))

    def metres(self, latitude: float, longitude: float) -> tuple[float, float]:
        """See `Projection`."""
        radius = self._radius(radians(latitude))
        turn = self._n * (radians(longitude) - self._meridian)
        return (
            self._east + radius * sin(turn),
            self._north + self._top - radius * cos(turn),
        )

    def degrees(self, east: float, north: float) -> tuple[float, float]:
        """See `Projection`."""
        x, y = east - self._east, self._top - (north - self._north)
        latitude = _latitude(log(self._scale / hypot(x, y)) / self._n)
        return degrees(latitude), degrees(self._meridian + atan2(x, y) / self._n)


_N = _F / (2 - _F)
_RADIUS = _A / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_FORTH = (
    _N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16,
    13 * _N**2 / 48 - 3 * _N**3 / 5,
    61 * _N**3 / 240,
)
_BACK = (_N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96, _N**2 / 48 + _N**3 / 15, 17 * _N**3 / 480)


@dataclass(frozen=True, slots=True)
class Mercator:
    """A zone of the universal transverse Mercator projection."""

    zone: int
    south: bool = False

    @property
    def _meridian(self) -> float:
        return radians(6 * self.zone - 183)

    def metres(self, latitude: float, longitude: float) -> tuple[float, float]:
        """See `Projection`."""
        high = sinh(_isometric(radians(latitude)))
        turn = radians(longitude) - self._meridian
        up, across = atan2(high, cos(turn)), asinh(sin(turn) / hypot(high, cos(turn)))
        north, east = up, across
        for step, factor in enumerate(_FORTH, 1):
            north += factor * sin(2 * step * up) * cosh(2 * step * across)
            east += factor * cos(2 * step * up) * sinh(2 * step * across)
        scale = 0.9996 * _RADIUS
        return 500_000 + scale * east, (10_000_000 if self.south else 0) + scale * north

    def degrees(self, east: float, north: float) -> tuple[float, float]:
        """See `Projection`."""
        scale = 0.9996 * _RADIUS
        up = (north - (10_000_000 if self.south else 0)) / scale
        across = (east - 500_000) / scale
        high, turn = up, across
        for step, factor in enumerate(_BACK, 1):
            high -= factor * sin(2 * step * up) * cosh(2 * step * across)
            turn -= factor * cos(2 * step * up) * sinh(2 * step * across)
        isometric = asinh(sin(high) / hypot(sinh(turn), cos(high)))
        longitude = self._meridian + atan2(sinh(turn), cos(high))
        return degrees(_latitude(isometric)), degrees((longitude + pi) % (2 * pi) - pi)


LAMBERT_93 = Conic(44, 49, (46.5, 3.0), (700_000, 6_600_000))
OVERSEAS: dict[str, Projection] = {
    "971": Mercator(20),
    "972": Mercator(20),
    "973": Mercator(22),
    "974": Mercator(40, south=True),
    "975": Mercator(21),
    "976": Mercator(38, south=True),
    "977": Mercator(20),
    "978": Mercator(20),
}
"""By the first three digits of a commune's code or a postcode."""


def projection(commune: str) -> Projection:
    """The map that public bodies use where this commune (INSEE code) is."""
    return OVERSEAS.get(commune[:3], LAMBERT_93)
