"""Centres of communes by the establishments in them, where no table of communes gives any."""

from collections.abc import Iterable

from miss_server.storage.geography import Commune, Position


class Survey:
    """Adds positions up; what it keeps is as large as the number of communes."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}
        self._names: dict[str, str] = {}
        self._postcodes: dict[str, dict[str, None]] = {}

    def name(self, code: str, name: str, postcode: str) -> None:
        """A commune as an address writes it."""
        if name:
            self._names.setdefault(code, name)
        if postcode:
            self._postcodes.setdefault(code, {})[postcode] = None

    def add(self, code: str, position: Position) -> None:
        """An establishment in a commune."""
        found = self._found.setdefault(code, [0.0, 0.0, 0.0])
        found[0] += position.latitude
        found[1] += position.longitude
        found[2] += 1

    def communes(self) -> list[Commune]:
        """Each commune that has an establishment with a position, its centre theirs."""
        return [
            Commune(
                code,
                self._names.get(code, ""),
                Position(round(up / count, 5), round(across / count, 5)),
                tuple(self._postcodes.get(code, ())),
            )
            for code, (up, across, count) in self._found.items()
        ]


def together(tables: Iterable[Commune], surveyed: Iterable[Commune]) -> list[Commune]:
    """One list of communes: what tables say, completed by what was surveyed."""
    found: dict[str, Commune] = {}
    for one in tables:
        before = found.get(one.code, one)
        found[one.code] = before._replace(
            position=before.position or one.position,
            postcodes=tuple(dict.fromkeys((*before.postcodes, *one.postcodes))),
        )
    for one in surveyed:
        before = found.get(one.code, one)
        found[one.code] = before._replace(
            position=before.position or one.position, postcodes=before.postcodes or one.postcodes
        )
    return sorted(found.values(), key=lambda commune: commune.code)
