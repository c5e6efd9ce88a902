"""Reads the national register's activities (`PS_LibreAcces_Personne_activite`): one line an activity.

Both generations of columns are read: 52 until 2021, 56 since; and the variant whose skills are in a
file of their own (`skills`).
"""

from typing import ClassVar

from miss_server.importers.bars import BarReader
from miss_server.importers.identifiers import fault, finess_fault, is_plain, storable
from miss_server.importers.readers import Unusable

REGISTER = "RPPS"
"""The name under which the register asks to be cited (Licence Ouverte 2.0), with the file's date."""

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


class ActivityReader(BarReader):
    """The reader of activities."""

    source = REGISTER
    kind = "activities"
    NEEDED: ClassVar = {
        "type": "Type d'identifiant PP",
        "number": "Identifiant PP",
        "key": "Identification nationale PP",
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
    OPTIONAL: ClassVar = {
        "speciality": "Libellé savoir-faire",
        "speciality_code": "Code savoir-faire",
        "sign": "Enseigne commerciale site",
        "street_index": "Indice répétition voie (coord. Structure)",
        "commune": "Code commune (coord. structure)",
        "finess": "Numéro FINESS site",
    }
    """Used if there: one variant of the file has its specialities in a second file."""

    def begin(self, header: str) -> None:
        """See `Reader`."""
        super().begin(header)
        found = self.found
        self.specialities = "speciality" in found
        self._type, self._number = found["type"], found["number"]
        self._key, self._name = found["key"], found["name"]
        self._finess = found.get("finess", self.width)
        self._sites = {""}
        """Establishments whose numbers are right."""

    def check(self, columns: list[str], number: int) -> None:
        """See `BarReader`."""
        if not columns[self._name]:
            raise Unusable("no name")
        national = columns[self._key]
        wrong = fault(columns[self._type], columns[self._number], national)
        if wrong is not None:
            if not storable(national):
                raise Unusable(wrong)
            self.warn(number, wrong)
        finess = columns[self._finess]
        if finess not in self._sites:
            self._place(columns, finess, number)

    def _place(self, columns: list[str], finess: str, number: int) -> None:
        """Keep a line whose establishment's number is wrong without it: by that number an organisation has people
        (spec 11 §6.1)."""
        wrong = finess_fault(finess)
        if wrong is None:
            self._sites.add(finess)
            return
        self.warnings.add(self.name, number, wrong)
        if not self.test_identifiers or not is_plain(finess):
            columns[self._finess] = ""
