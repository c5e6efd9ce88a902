"""Fictive secure mailboxes of people and organisations, in the layout of the national file.

As in real ones, names are in capitals and mostly without accents, an address comes twice now and then, a
few bear another name than the register's, and services belong to some organisations.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

from miss_server.importers.activities import COLUMNS_56
from miss_server.importers.fictive_establishments import Site, fictive_site
from miss_server.importers.fictive_names import plain
from miss_server.importers.mailboxes import MAILBOX_COLUMNS

PEOPLE_SHARE = 0.33
SITES_SHARE = 0.6
OTHER_NAME_SHARE = 0.0005
TWICE_SHARE = 0.0003
DOMAINS = 5_000
SERVICES = (
    "CARDIOLOGIE", "URGENCES", "GERIATRIE", "MATERNITE", "CHIRURGIE VISCERALE",
    "SECRETARIAT MEDICAL", "LABORATOIRE", "IMAGERIE", "PEDIATRIE", "PHARMACIE A USAGE INTERIEUR",
)  # fmt: skip

_OF_ACTIVITIES = {column: place for place, column in enumerate(COLUMNS_56)}
_COPIED = {
    "Type Identifiant PP": "Type d'identifiant PP",
    "Identifiant PP": "Identifiant PP",
    "Identification nationale PP": "Identification nationale PP",
    "Catégorie profession": "Code catégorie professionnelle",
    "Libellé de catégorie profession": "Libellé catégorie professionnelle",
    "Code Profession": "Code profession",
    "Libellé Profession": "Libellé profession",
    "Code savoir-faire": "Code savoir-faire",
    "Libellé savoir-faire": "Libellé savoir-faire",
    "L4NUMEROVOIE": "Numéro Voie (coord. structure)",
    "L4LIBELLEVOIE": "Libellé Voie (coord. structure)",
    "L6LIGNEACHEMINEMENT": "Bureau cedex (coord. structure)",
    "Code postal": "Code postal (coord. structure)",
    "Département": "Libellé département (coord. structure)",
}


class Letters:
    """Mailboxes of one edition; the same seed and calls make the same ones."""

    def __init__(self, seed: int, sites: int) -> None:
        self._dice = random.Random(seed + 1)  # noqa: S311 - reproducible fiction, nothing secret
        self._seed, self._sites = seed, sites

    def of_person(self, national: str, activity: Sequence[str]) -> Iterator[list[str]]:
        """The mailboxes of a person, from one of the lines of activities."""
        dice = self._dice
        if dice.random() >= PEOPLE_SHARE:
            return
        name, given = (
            plain(activity[_OF_ACTIVITIES[column]]).upper()
            for column in ("Nom d'exercice", "Prénom d'exercice")
        )
        if dice.random() < OTHER_NAME_SHARE:
            name = f"EPOUSE{dice.randrange(1000)}"
        local = f"{given}.{name}".lower().replace(" ", "").replace("'", "")
        values = {column: activity[_OF_ACTIVITIES[of]] for column, of in _COPIED.items()} | {
            "Type de BAL": "PER",
            "Adresse BAL": f"{local}.{national[-6:]}@{self._domain()}",
            "Nom d'exercice": name,
            "Prénom d'exercice": given,
            "Dématérialisation": "O",
            "Pays": "FRANCE",
        }
        if dice.random() < 0.3:
            values |= _structure(fictive_site(dice.randrange(self._sites), self._seed))
        yield from self._lines(values)

    def of_site(self, site: Site) -> Iterator[list[str]]:
        """The mailboxes of an establishment, those of its services included."""
        dice = self._dice
        if dice.random() >= SITES_SHARE:
            return
        values = {
            "Type de BAL": dice.choices(("ORG", "APP"), (95, 5))[0],
            "Dématérialisation": "O",
            "Code postal": site.town.postcode,
            "L6LIGNEACHEMINEMENT": f"{site.town.postcode} {plain(site.town.name).upper()}",
            "Département": plain(site.town.department).upper(),
            "Pays": "FRANCE",
        } | _structure(site)
        domain = self._domain()
        yield from self._lines(values | {"Adresse BAL": f"contact.{site.finess}@{domain}"})
        if site.category_code in ("101", "355"):
            for service in dice.sample(SERVICES, dice.randint(2, len(SERVICES))):
                address = f"{service.lower().replace(' ', '-')}.{site.finess}@{domain}"
                yield from self._lines(
                    values | {"Adresse BAL": address, "Service de rattachement": service}
                )

    def _domain(self) -> str:
        return f"fictif{int(DOMAINS * self._dice.random() ** 3)}.mssante.fr"

    def _lines(self, values: Mapping[str, str]) -> Iterator[list[str]]:
        line = [values.get(column, "") for column in MAILBOX_COLUMNS]
        yield line
        if self._dice.random() < TWICE_SHARE:
            yield line


def _structure(site: Site) -> dict[str, str]:
    return {
        "Type identifiant structure": "FINESS",
        "Identification Structure": site.finess,
        "Raison Sociale structure BAL": site.name,
    }
