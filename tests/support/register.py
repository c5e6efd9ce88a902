"""Files of the national register's layout with a few fictive people, for tests of the directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from miss_server.importers.activities import COLUMNS_56
from miss_server.importers.identifiers import luhn_key
from miss_server.importers.lines import Line
from miss_server.importers.readers import Reader
from miss_server.importers.recognising import readers

STAMPED = "PS_LibreAcces_Personne_activite_20260105063000.txt"
STAMPED_DATE = "2026-01-05"


def rpps(serial: int) -> str:
    """A well-formed RPPS number that the register does not give out."""
    number = f"98{serial:08d}"
    return number + luhn_key(number)


def activity(serial: int, /, **named: str) -> dict[str, str]:
    """A line's values by short names; the others are those of a GP in Lille."""
    number = named.get("number", rpps(serial))
    kind = named.get("type", "8")
    return {
        "Type d'identifiant PP": kind,
        "Identifiant PP": number,
        "Identification nationale PP": named.get("national", kind + number),
        "Libellé civilité exercice": named.get("title", "Docteur"),
        "Libellé civilité": named.get("civility", "Madame"),
        "Nom d'exercice": named.get("name", f"NOM{serial}"),
        "Prénom d'exercice": named.get("given", "Camille"),
        "Code profession": named.get("profession_code", "10"),
        "Libellé profession": named.get("profession", "Médecin"),
        "Code savoir-faire": named.get("speciality_code", ""),
        "Libellé savoir-faire": named.get("speciality", "Médecine Générale"),
        "Raison sociale site": named.get("organisation", "Cabinet du Beffroi"),
        "Enseigne commerciale site": named.get("sign", ""),
        "Numéro Voie (coord. structure)": named.get("street_number", "12"),
        "Indice répétition voie (coord. Structure)": named.get("street_index", ""),
        "Libellé type de voie (coord. structure)": named.get("street_kind", "Rue"),
        "Libellé Voie (coord. structure)": named.get("street", "des Tilleuls"),
        "Bureau cedex (coord. structure)": named.get("cedex", ""),
        "Code postal (coord. structure)": named.get("postcode", "59000"),
        "Code commune (coord. structure)": named.get("commune", ""),
        "Numéro FINESS site": named.get("finess", ""),
        "Libellé commune (coord. structure)": named.get("city", "Lille"),
        "Libellé pays (coord. structure)": named.get("country", ""),
        "Téléphone (coord. structure)": named.get("phone", "0353010101"),
        "Code département (coord. structure)": named.get("department_code", "59"),
        "Libellé département (coord. structure)": named.get("department", "Nord"),
    }


def row(values: Mapping[str, str], columns: Sequence[str] = COLUMNS_56) -> str:
    """A line with its trailing separator, without its end."""
    return "|".join(values.get(column, "") for column in columns) + "|"


def text(*activities: Mapping[str, str]) -> str:
    """A whole file of the 56 columns."""
    return "".join(line + "\n" for line in ("|".join(COLUMNS_56) + "|", *map(row, activities)))


def write(path: Path, *activities: Mapping[str, str]) -> Path:
    """Write a whole file of the 56 columns."""
    path.write_text(text(*activities), encoding="utf-8")
    return path


def reader(path: Path, *, test_identifiers: bool = False) -> Reader:
    """The reader of a file of one text."""
    (found,) = readers(path, test_identifiers=test_identifiers)
    return found


def lines(reader: Reader) -> list[Line]:
    """What a reader reads."""
    return [Line.unpacked(key, text) for key, text in reader.rows()]
