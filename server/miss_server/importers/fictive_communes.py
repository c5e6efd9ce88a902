"""The communes of fictive people, in the layout of the public table of communes with their centres."""

import csv
from typing import TextIO

from miss_server.importers.fictive_names import plain
from miss_server.importers.fictive_places import TOWNS, Town
from miss_server.storage.geography import whole_city

COMMUNE_COLUMNS = (
    "", "code_insee", "nom_standard", "nom_sans_pronom", "nom_a", "nom_de", "nom_sans_accent",
    "nom_standard_majuscule", "typecom", "typecom_texte", "reg_code", "reg_nom", "dep_code",
    "dep_nom", "canton_code", "canton_nom", "epci_code", "epci_nom", "academie_code",
    "academie_nom", "code_postal", "codes_postaux", "zone_emploi",
    "code_insee_centre_zone_emploi", "code_unite_urbaine", "nom_unite_urbaine",
    "taille_unite_urbaine", "type_commune_unite_urbaine", "statut_commune_unite_urbaine",
    "population", "superficie_hectare", "superficie_km2", "densite", "altitude_moyenne",
    "altitude_minimale", "altitude_maximale", "latitude_mairie", "longitude_mairie",
    "latitude_centre", "longitude_centre", "grille_densite", "grille_densite_texte",
    "niveau_equipements_services", "niveau_equipements_services_texte", "gentile",
    "url_wikipedia", "url_villedereve",
)  # fmt: skip
"""All columns of the table; the first one, which numbers the lines, has no name."""


def write_communes(file: TextIO) -> int:
    """Write the communes of all fictive towns; returns their number. Districts are their city's."""
    found: dict[str, list[Town]] = {}
    for town in TOWNS:
        found.setdefault(whole_city(town.commune), []).append(town)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COMMUNE_COLUMNS)
    for number, (code, towns) in enumerate(sorted(found.items())):
        town = towns[0]
        postcodes = list(dict.fromkeys(one.postcode for one in towns))
        values = {
            "": str(number),
            "code_insee": code,
            "nom_standard": town.name,
            "nom_sans_accent": plain(town.name),
            "nom_standard_majuscule": town.name.upper(),
            "typecom": "COM",
            "typecom_texte": "Commune",
            "dep_code": town.department_code,
            "dep_nom": town.department,
            "code_postal": postcodes[0],
            "codes_postaux": ", ".join(postcodes),
            "latitude_mairie": f"{town.latitude}",
            "longitude_mairie": f"{town.longitude}",
            "latitude_centre": f"{town.latitude}",
            "longitude_centre": f"{town.longitude}",
        }
        writer.writerow([values.get(column, "") for column in COMMUNE_COLUMNS])
    return len(found)
