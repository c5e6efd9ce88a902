"""Who works in fictive establishments: professionals of the register, and people without a national number."""

import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from miss_server.importers.fictive_establishments import fictive_site
from miss_server.importers.fictive_names import GIVEN_MEN, GIVEN_WOMEN, family_names
from miss_server.importers.fictive_places import SITE_NAMES, TOWNS, Town

KNOWN_SHARE = 0.8
"""Employees whose establishment is in the file of establishments: it is two months older than the register."""
MEMBERS_SHARE = 0.01
MEMBER_COLUMNS = (
    "Identifiant local", "Nature", "Nom", "Prénom", "Profession", "Rattachement", "Code postal", "Ville",
)  # fmt: skip
_POSTS = {
    "101": 500,
    "355": 80,
    "365": 25,
    "500": 6,
    "354": 4,
    "124": 4,
    "611": 3,
    "603": 3,
    "620": 1,
}
"""How many an establishment of a category employs, relatively."""
_TRADES = ("Secrétaire médicale", "Aide-soignante", "Assistante sociale", "Auxiliaire de vie")


class Employer(NamedTuple):
    """An establishment as a line of somebody who works there names it."""

    finess: str
    name: str


class Employers:
    """The establishments of an edition, by town."""

    def __init__(self, sites: int, seed: int) -> None:
        by_town: dict[Town, list[tuple[Employer, int]]] = {}
        for number in range(sites):
            site = fictive_site(number, seed)
            employer = Employer(site.finess, site.name)
            by_town.setdefault(site.town, []).append((employer, _POSTS[site.category_code]))
        self._by_town = {
            town: ([one for one, _ in some], list(accumulate(posts for _, posts in some)))
            for town, some in by_town.items()
        }

    def one(self, town: Town, dice: random.Random) -> Employer | None:
        """One of the town's, a hospital likelier than a pharmacy; None if it has none, or an unknown one."""
        employers, posts = self._by_town.get(town, ((), [0]))
        drawn, known = dice.random() * posts[-1], dice.random() < KNOWN_SHARE
        return employers[bisect(posts, drawn)] if employers and known else None


def members(people: int, sites: int, seed: int) -> Iterator[list[str]]:
    """Lines of an association's own list: itself, and people without a national number who work in
    establishments."""
    dice = random.Random(seed + 2)  # noqa: S311 - reproducible fiction, nothing secret
    names, lille = family_names(), TOWNS[0]
    name = f"Réseau {dice.choice(SITE_NAMES)}"
    yield ["RES-1", "organisation", name, "", "", "", lille.postcode, lille.name]
    for number in range(max(2, round(people * MEMBERS_SHARE))):
        site = fictive_site(dice.randrange(sites), seed)
        town = site.town
        given = dice.choice(dice.choice((GIVEN_WOMEN, GIVEN_MEN)))
        yield [
            *(f"S-{number + 1}", "", dice.choice(names), given, dice.choice(_TRADES)),
            *(f"1{site.finess}", town.postcode, town.name),
        ]
