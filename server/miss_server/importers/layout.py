"""The columns of the national register's file of activities (`PS_LibreAcces_Personne_activite`).

Columns are found by their name, never by their place: the register added columns (52 until 2021,
56 since) and respelt some. Names are compared without accents, case, punctuation and the words
that only some generations write.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from miss_protocol.directory import normalise
from miss_server.importers.refusal import ImportRefused
from miss_server.words import tr

_HEADER = (
    "Type d'identifiant PP|Identifiant PP|Identification nationale PP|"
    "Code civilité d'exercice|Libellé civilité exercice|Code civilité|Libellé civilité|"
    "Nom d'exercice|Prénom d'exercice|Code profession|Libellé profession|"
    "Code catégorie professionnelle|Libellé catégorie professionnelle|"
    "Code type savoir-faire|Libellé type savoir-faire|Code savoir-faire|Libellé savoir-faire|"
    "Code mode exercice|Libellé mode exercice|Numéro SIRET site|Numéro SIREN site|"
    "Numéro FINESS site|Numéro FINESS établissement juridique|"
    "Identifiant technique de la structure|Raison sociale site|Enseigne commerciale site|"
    "Complément destinataire (coord. structure)|"
    "Complément point géographique (coord. structure)|Numéro Voie (coord. structure)|"
    "Indice répétition voie (coord. Structure)|Code type de voie (coord. structure)|"
    "Libellé type de voie (coord. structure)|Libellé Voie (coord. structure)|"
    "Mention distribution (coord. structure)|Bureau cedex (coord. structure)|"
    "Code postal (coord. structure)|Code commune (coord. structure)|"
    "Libellé commune (coord. structure)|Code pays (coord. structure)|"
    "Libellé pays (coord. structure)|Téléphone (coord. structure)|"
    "Téléphone 2 (coord. structure)|Télécopie (coord. structure)|"
    "Adresse e-mail (coord. structure)|Code département (coord. structure)|"
    "Libellé département (coord. structure)|Ancien identifiant de la structure|"
    "Autorité d'enregistrement|Code secteur d'activité|Libellé secteur d'activité|"
    "Code section tableau pharmaciens|Libellé section tableau pharmaciens|"
    "Code fonction|Libellé fonction|Code genre d'activité|Libellé genre d'activité"
)
COLUMNS_56 = _HEADER.split("|")
"""The generation in use; a header line ends with one more separator."""

_RESPELT_52 = {
    "Libellé civilité exercice": "Libellé civilité d'exercice",
    "Indice répétition voie (coord. Structure)": "Indice répétition voie (coord. structure)",
    "Code département (coord. structure)": "Code Département (structure)",
    "Libellé département (coord. structure)": "Libellé Département (structure)",
}
COLUMNS_52 = [_RESPELT_52.get(column, column) for column in COLUMNS_56[:52]]
"""The generation of 2021."""

SEPARATOR = "|"
_UNTOLD = {"d", "coord"}

NEEDED = {
    "type": "Type d'identifiant PP",
    "number": "Identifiant PP",
    "national": "Identification nationale PP",
    "title": "Libellé civilité exercice",
    "civility": "Libellé civilité",
    "name": "Nom d'exercice",
    "given": "Prénom d'exercice",
    "profession_code": "Code profession",
    "profession": "Libellé profession",
    "organisation": "Raison sociale site",
    "street_number": "Numéro Voie (coord. structure)",
    "street_kind": "Libellé type de voie (coord. structure)",
    "street": "Libellé Voie (coord. structure)",
    "cedex": "Bureau cedex (coord. structure)",
    "postcode": "Code postal (coord. structure)",
    "city": "Libellé commune (coord. structure)",
    "country": "Libellé pays (coord. structure)",
    "phone": "Téléphone (coord. structure)",
    "department_code": "Code département (coord. structure)",
    "department": "Libellé département (coord. structure)",
}
"""What the directory is made from; without one of these it would silently be poorer."""
OPTIONAL = {
    "speciality": "Libellé savoir-faire",
    "sign": "Enseigne commerciale site",
    "street_index": "Indice répétition voie (coord. Structure)",
}
"""Used if there: one variant of the file has its specialities in a second file."""
FIELDS = (*NEEDED, *OPTIONAL)


def column_key(column: str) -> str:
    """A column's name as names are compared."""
    return " ".join(word for word in normalise(column) if word not in _UNTOLD)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields are: `places[i]` is the index of `FIELDS[i]`, or -1. `width`: all columns,
    the empty one behind the last separator included."""

    places: Sequence[int]
    width: int
    specialities: bool


def read_header(line: str) -> Layout:
    """Find the columns in a header line.

    Raises:
        ImportRefused: another separator, a needed column is missing, or a column is there twice.
    """
    if line.count(SEPARATOR) < 2:
        raise ImportRefused(
            tr(
                "The columns of the first line are not separated by '|'.",
                "Les colonnes de la première ligne ne sont pas séparées par « | ».",
            ),
            tr(
                "Give the register's text file as it was published, not re-saved by another"
                " program.",
                "Donnez le fichier texte du répertoire tel qu'il est publié, sans l'avoir"
                " réenregistré avec un autre logiciel.",
            ),
        )
    columns = line.split(SEPARATOR)
    keys = [column_key(column) for column in columns]
    places = []
    for field in FIELDS:
        wanted = {**NEEDED, **OPTIONAL}[field]
        count = keys.count(column_key(wanted))
        if count > 1 or (count == 0 and field in NEEDED):
            raise _wrong_column(wanted, missing=count == 0)
        places.append(keys.index(column_key(wanted)) if count else -1)
    return Layout(places, len(columns), places[FIELDS.index("speciality")] >= 0)


def _wrong_column(column: str, *, missing: bool) -> ImportRefused:
    if missing:
        reason = tr(f"The column '{column}' is missing.", f"La colonne « {column} » est absente.")
    else:
        reason = tr(
            f"The column '{column}' is there twice.", f"La colonne « {column} » figure deux fois."
        )
    return ImportRefused(
        reason,
        tr(
            "Import the file of activities (PS_LibreAcces_Personne_activite); if its columns were"
            " renamed by the register, this version must be updated.",
            "Importez le fichier des activités (PS_LibreAcces_Personne_activite) ; si le"
            " répertoire a renommé ses colonnes, cette version doit être mise à jour.",
        ),
    )
