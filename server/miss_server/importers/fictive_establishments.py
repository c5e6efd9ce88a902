"""Fictive establishments, in the layout of the national file of establishments with a header line."""

import random
from typing import NamedTuple

from miss_server.importers.fictive_names import plain
from miss_server.importers.fictive_places import (
    PHONES,
    SITE_NAMES,
    STREET_KINDS,
    STREETS,
    TOWNS,
    Town,
)
from miss_server.importers.identifiers import luhn_key

ESTABLISHMENT_COLUMNS = (
    "nofinesset", "nofinessej", "rs", "rslongue", "numvoie", "typvoie", "voie", "compvoie",
    "commune", "departement", "libdepartement", "ligneacheminement", "telephone", "categetab",
    "libcategetab", "coordx", "coordy",
)  # fmt: skip
CATEGORIES = (
    ("101", "Centre Hospitalier Régional (C.H.R.)", "CHR", 1),
    ("355", "Centre Hospitalier (C.H.)", "CH", 10),
    ("365", "Etablissement de Soins Pluridisciplinaire", "CLINIQUE", 10),
    ("500", "Etablissement d'hébergement pour personnes âgées dépendantes", "EHPAD", 80),
    ("611", "Laboratoire de Biologie Médicale", "LABORATOIRE", 50),
    ("620", "Pharmacie d'Officine", "PHARMACIE", 210),
    ("124", "Centre de Santé", "CENTRE DE SANTE", 30),
    ("603", "Maison de santé (L.6223-3)", "MAISON DE SANTE", 25),
    ("354", "Service de Soins Infirmiers A Domicile (S.S.I.A.D)", "SSIAD", 20),
)
"""Code, label, how names of such begin, and their share; plausible, nothing official."""
_WEIGHTS = [weight for *_, weight in CATEGORIES]
_TOWN_WEIGHTS = [town.weight for town in TOWNS]


class Site(NamedTuple):
    """A fictive establishment."""

    number: int
    finess: str
    name: str
    category_code: str
    category: str
    town: Town
    dice: random.Random


def fictive_site(number: int, seed: int) -> Site:
    """An establishment, the same for the same number and seed. Its FINESS number begins with 99, which
    is no department's."""
    dice = random.Random((seed << 32) + number)  # noqa: S311 - reproducible fiction, nothing secret
    code, category, kind, _ = dice.choices(CATEGORIES, _WEIGHTS)[0]
    town = dice.choices(TOWNS, _TOWN_WEIGHTS)[0]
    digits = f"99{number:06d}"
    name = f"{kind} {plain(dice.choice(SITE_NAMES)).upper()}"
    if dice.random() < 0.5:
        name += f" {plain(town.name).upper()}"
    return Site(number, digits + luhn_key(digits), name, code, category, town, dice)


def establishment_line(site: Site) -> list[str]:
    """Its line: the name cut to 38 characters beside the whole one, no postcode of its own."""
    dice, town = site.dice, site.town
    kind, _ = dice.choice(STREET_KINDS)
    street = plain(dice.choice(STREETS)).upper()
    commune = town.commune[2:] if len(town.department_code) == 2 else ""
    place = f"{town.postcode} {plain(town.name).upper()}"
    phone = f"{dice.choice(PHONES)}{dice.randrange(1000):03d}"
    return [
        site.finess, site.finess, site.name[:38], site.name, str(dice.randint(1, 240)), kind,
        street, "", commune, town.department_code, plain(town.department).upper(),
        place + (" CEDEX" if dice.random() < 0.2 else ""), phone, site.category_code, site.category,
        "", "",
    ]  # fmt: skip
