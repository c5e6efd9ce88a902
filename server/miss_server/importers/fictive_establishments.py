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
from miss_server.importers.projections import projection

ESTABLISHMENT_COLUMNS = (
    "nofinesset", "nofinessej", "rs", "rslongue", "complrs", "compldistrib", "numvoie", "typvoie",
    "voie", "compvoie", "lieuditbp", "region", "libregion", "departement", "libdepartement", "cog",
    "codepostal", "libelle_routage", "ligneacheminement", "telephone", "telecopie", "categetab",
    "libcategetab", "liblongcategetab", "categretab", "libcategretab", "siret", "codeape",
    "libcodeape", "mft", "libmft", "liblongmft", "sph", "libsph", "numen", "coordx", "coordy",
    "sourcegeocod", "dategeocod", "dateautor", "dateouvert", "datemaj",
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
    """Its line: the name cut to 38 characters beside the whole one; one of ten has no coordinates."""
    dice, town = site.dice, site.town
    kind, _ = dice.choice(STREET_KINDS)
    city = plain(town.name).upper()
    values = {
        "nofinesset": site.finess,
        "nofinessej": site.finess,
        "rs": site.name[:38],
        "rslongue": site.name,
        "numvoie": str(dice.randint(1, 240)),
        "typvoie": kind,
        "voie": plain(dice.choice(STREETS)).upper(),
        "departement": town.department_code,
        "libdepartement": plain(town.department).upper(),
        "cog": town.commune,
        "codepostal": town.postcode,
        "libelle_routage": city,
        "ligneacheminement": f"{town.postcode} {city}" + (" CEDEX" if dice.random() < 0.2 else ""),
        "telephone": f"{dice.choice(PHONES)}{dice.randrange(1000):03d}",
        "categetab": site.category_code,
        "libcategetab": site.category[:20],
        "liblongcategetab": site.category,
    }
    if dice.random() < 0.9:
        # A couple of kilometres around the centre.
        east, north = projection(town.commune).metres(
            town.latitude + dice.gauss(0, 0.012), town.longitude + dice.gauss(0, 0.018)
        )
        values |= {
            "coordx": f"{east:.1f}",
            "coordy": f"{north:.1f}",
            "sourcegeocod": "1,ATLASANTE,100,IGN,BD_ADRESSE,V2.2,LAMBERT_93",
            "dategeocod": "2026-01-04",
        }
    return [values.get(column, "") for column in ESTABLISHMENT_COLUMNS]
