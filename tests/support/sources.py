"""Files of the directory's other sources with a few fictive lines: mailboxes, establishments, skills."""

from pathlib import Path

from miss_server.importers.establishments import STOCK_COLUMNS
from miss_server.importers.fictive_establishments import ESTABLISHMENT_COLUMNS
from miss_server.importers.identifiers import luhn_key
from miss_server.importers.mailboxes import MAILBOX_COLUMNS
from tests.support.register import rpps

SKILL_COLUMNS = [
    "Type d'identifiant PP",
    "Identifiant PP",
    "Identification nationale PP",
    "Nom d'exercice",
    "Prénom d'exercice",
    "Code type savoir-faire",
    "Code savoir-faire",
    "Libellé savoir-faire",
]
MAILBOX_STAMPED = "Extraction_Correspondance_MSSante_202601050700.txt"
ESTABLISHMENTS = "finess_20260104.csv"


def finess(serial: int) -> str:
    """A well-formed FINESS number that is not given out."""
    number = f"5999{serial:04d}"
    return number + luhn_key(number)


def mailbox(kind: str, address: str, /, **named: str) -> str:
    """A line of a mailbox by short names."""
    values = {
        "Type de BAL": kind,
        "Adresse BAL": address,
        "Identification nationale PP": named.get("national", ""),
        "Type identifiant structure": "FINESS" if "structure" in named else "",
        "Identification Structure": named.get("structure", ""),
        "Service de rattachement": named.get("service", ""),
        "Nom d'exercice": named.get("name", ""),
        "Prénom d'exercice": named.get("given", ""),
        "Code Profession": named.get("profession_code", ""),
        "Raison Sociale structure BAL": named.get("organisation", ""),
        "L6LIGNEACHEMINEMENT": named.get("cedex", "59037 LILLE CEDEX"),
        "Code postal": named.get("postcode", "59000"),
        "Département": "59",
        "Pays": "FRANCE",
    }
    if "structure_type" in named:
        values["Type identifiant structure"] = named["structure_type"]
    return "|".join(values.get(column, "") for column in MAILBOX_COLUMNS)


def write_mailboxes(path: Path, *lines: str) -> Path:
    """Write a whole file of mailboxes."""
    whole = "".join(line + "\n" for line in ("|".join(MAILBOX_COLUMNS), *lines))
    path.write_text(whole, encoding="utf-8")
    return path


def establishment(
    number: str, name: str, category: str = "Centre Hospitalier (C.H.)", /, **named: str
) -> str:
    """A line of an establishment in Lille, other columns by their names."""
    values = {
        "nofinesset": number,
        "nofinessej": finess(9),
        "rs": name[:10],
        "rslongue": name,
        "numvoie": "2",
        "typvoie": "AV",
        "voie": "OSCAR LAMBRET",
        "departement": "59",
        "libdepartement": "NORD",
        "cog": "59350",
        "codepostal": "59037",
        "libelle_routage": "LILLE",
        "ligneacheminement": "59037 LILLE CEDEX",
        "telephone": "0320999999",
        "categetab": "355",
        "liblongcategetab": category,
        "coordx": "703210.5",
        "coordy": "7060110.2",
    } | named
    return ";".join(values.get(column, "") for column in ESTABLISHMENT_COLUMNS)


def write_establishments(path: Path, *lines: str, encoding: str = "latin-1") -> Path:
    """Write a whole file of establishments."""
    whole = "".join(line + "\n" for line in (";".join(ESTABLISHMENT_COLUMNS), *lines))
    path.write_text(whole, encoding=encoding)
    return path


def write_stock(path: Path, day: str, *numbers: str) -> Path:
    """Write a monthly stock of establishments, which states its day (`YYYY-MM-DD`) and has no header line."""
    lines = [f"finess;etalab;93;{day}"]
    for number in numbers:
        values = {"structureet": "structureet", "nofinesset": number, "rs": f"EHPAD {number}"}
        values |= {"commune": "350", "departement": "59"}
        lines.append(";".join(values.get(column, "") for column in STOCK_COLUMNS))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_skills(path: Path, *skills: tuple[int, str, str]) -> Path:
    """Write a whole file of skills: (serial of a person, code, label)."""
    lines = ["|".join(SKILL_COLUMNS) + "|"]
    for serial, code, label in skills:
        number = rpps(serial)
        lines.append(f"8|{number}|8{number}|NOM|Camille|S|{code}|{label}|")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
