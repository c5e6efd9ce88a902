"""Writes files of fictive people and organisations exactly in the layout of the national sources.

The activities have what real ones have: several lines a person, spelt differently; no commune beside a filled
`Bureau cedex`; postcodes that are no numbers; people abroad or without any structure; ADELI among
RPPS numbers. Numbers start with 99 (RPPS) and 00 (ADELI), which the register does not give out.
"""

import random
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TextIO

from miss_server.importers.activities import COLUMNS_52, COLUMNS_56
from miss_server.importers.bars import BAR
from miss_server.importers.establishments import SEMICOLON
from miss_server.importers.fictive_communes import write_communes
from miss_server.importers.fictive_establishments import (
    ESTABLISHMENT_COLUMNS,
    establishment_line,
    fictive_site,
)
from miss_server.importers.fictive_mailboxes import Letters
from miss_server.importers.fictive_names import (
    GIVEN_MEN,
    GIVEN_WOMEN,
    family_names,
    plain,
    with_particle,
)
from miss_server.importers.fictive_places import (
    ABROAD,
    PHONES,
    SITE_NAMES,
    SITES,
    STREET_KINDS,
    STREETS,
    TOWNS,
    Town,
)
from miss_server.importers.fictive_professions import (
    ADVANCED_NURSE,
    CARDIOLOGY,
    DOCTOR,
    GENERAL,
    NURSE,
    PHARMACIST,
    PROFESSIONS,
    SPECIALITIES,
    Profession,
    Speciality,
)
from miss_server.importers.fictive_staff import MEMBER_COLUMNS, Employer, Employers, members
from miss_server.importers.identifiers import ADELI, RPPS, luhn_key
from miss_server.importers.mailboxes import MAILBOX_COLUMNS

BOM = "\ufeff"
SITES_SHARE = 0.07
"""Establishments to people: about 100,000 to 1,400,000."""


class Person(NamedTuple):
    """A fictive person before the lines: `national` is the type digit and the number."""

    national: str
    name: str
    given: str
    woman: bool
    profession: Profession
    speciality: Speciality | None
    town: Town


def _rpps(serial: int) -> str:
    number = f"99{serial:08d}"
    return RPPS + number + luhn_key(number)


def _lille() -> Town:
    return next(town for town in TOWNS if town.name == "Lille")


DEMO_PEOPLE = {
    "gp": Person(_rpps(1), "Vandrelle", "Camille", True, DOCTOR, GENERAL, _lille()),
    "cardiologist": Person(
        _rpps(2), "Lefévère-Despré", "Gaëtan", False, DOCTOR, CARDIOLOGY, _lille()
    ),
    "pharmacist": Person(_rpps(3), "Quesnimont", "Noémie", True, PHARMACIST, None, _lille()),
    "nurse": Person(_rpps(4), "Oulcadine", "Yasmine", True, NURSE, None, _lille()),
}
"""In every generated file, by role: a GP, a cardiologist, a pharmacist and a nurse in Lille."""
_DEMO_SITES = {
    DEMO_PEOPLE["gp"].national: "Maison de santé du Beffroi",
    DEMO_PEOPLE["cardiologist"].national: "Centre de cardiologie de la Deûle-Claire",
    DEMO_PEOPLE["pharmacist"].national: "Pharmacie des Trois-Ponts",
    DEMO_PEOPLE["nurse"].national: "Cabinet infirmier des Tilleuls",
}


def generate(output: Path, *, people: int, seed: int, columns: int = 56, bom: bool = False) -> int:
    """Write `people` fictive persons (at least the four of `DEMO_PEOPLE`); returns the lines.

    The same `people`, `seed` and `columns` (56, or 52 for the generation of 2021) write the same
    bytes. The file appears under its name when it is complete.
    """
    header = COLUMNS_56 if columns == 56 else COLUMNS_52
    part = output.with_name(output.name + ".part")
    count = 0
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write((BOM if bom else "") + BAR.join(header) + BAR + "\n")
        people = max(people, len(DEMO_PEOPLE))
        for _, line in _lines(people, seed, Employers(_sites(people), seed)):
            file.write(BAR.join(line[: len(header)]) + BAR + "\n")
            count += 1
    part.replace(output)
    return count


class Written(NamedTuple):
    """Files of one edition, and their lines without headers. In archives skills are with the activities."""

    activities: Path
    mailboxes: Path
    establishments: Path
    communes: Path
    lines: int
    skills: Path | None = None
    members: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them, as they are imported together."""
        found = (*self[:4], self.skills, self.members)
        return [path for path in found if isinstance(path, Path)]


def generate_all(
    folder: Path,
    *,
    people: int,
    seed: int,
    stamp: str,
    split_skills: bool = False,
    own_list: bool = False,
    zipped: bool = False,
) -> Written:
    """Write the activities, the secure mailboxes, the establishments and the communes of one day into a
    folder.

    About a third of the people and a twelfth as many organisations and services have a mailbox; a few
    mailboxes bear another name than the register's. Most who are employed work in one of the establishments.

    Args:
        stamp: the time in their names, `YYYYMMDDhhmm`.
        split_skills: the variant of the activities without skills, and the file of these.
        own_list: a list of an association's own, of people without a national number.
        zipped: activities (with skills) and mailboxes in archives, as they are published.
    """
    people = max(people, len(DEMO_PEOPLE))
    sites = _sites(people)
    register = folder / f"PS_LibreAcces_Personne_activite_{stamp}.txt"
    written = Written(
        register,
        folder / f"Extraction_Correspondance_MSSante_{stamp}.txt",
        folder / f"etalab_finess_{stamp[:8]}.csv",
        folder / f"communes_{stamp[:8]}.csv",
        0,
        folder / f"PS_LibreAcces_SavoirFaire_{stamp}.txt" if split_skills else None,
        folder / f"membres_{stamp[:8]}.csv" if own_list else None,
    )
    with ExitStack() as stack:

        def begun(path: Path, encoding: str = "utf-8") -> TextIO:
            return stack.enter_context(_part(path).open("w", encoding=encoding, newline="\n"))

        activities, mailboxes = _Bars(begun(register)), _Bars(begun(written.mailboxes), end="")
        skills = _Bars(begun(written.skills)) if written.skills else None
        activities.write(_NARROW(COLUMNS_56) if skills else COLUMNS_56)
        mailboxes.write(MAILBOX_COLUMNS)
        if skills:
            skills.write(SKILL_COLUMNS)
        letters = Letters(seed, sites)
        before = None
        for person, line in _lines(people, seed, Employers(sites, seed)):
            activities.write(_NARROW(line) if skills else line)
            if person is not before:
                before = person
                if skills and person.speciality:
                    skills.write(_SKILL(line))
                for mailbox in letters.of_person(person.national, line):
                    mailboxes.write(mailbox)
        count = write_communes(begun(written.communes))
        establishments = _Bars(begun(written.establishments, "latin-1"), SEMICOLON, end="")
        establishments.write(ESTABLISHMENT_COLUMNS)
        for number in range(sites):
            site = fictive_site(number, seed)
            establishments.write(establishment_line(site))
            for mailbox in letters.of_site(site):
                mailboxes.write(mailbox)
        texts = [activities, mailboxes, establishments, *([skills] if skills else [])]
        if written.members:
            texts.append(_Bars(begun(written.members), SEMICOLON, end=""))
            texts[-1].write(MEMBER_COLUMNS)
            for line in members(people, sites, seed):
                texts[-1].write(line)
    for path in written.files:
        _part(path).replace(path)
    written = written._replace(lines=count + sum(text.lines for text in texts))
    return _zipped(written, stamp) if zipped else written


SKILL_COLUMNS = (
    "Type d'identifiant PP", "Identifiant PP", "Identification nationale PP", "Nom d'exercice",
    "Prénom d'exercice", "Code profession", "Libellé profession", "Code catégorie professionnelle",
    "Libellé catégorie professionnelle", "Code type savoir-faire", "Libellé type savoir-faire",
    "Code savoir-faire", "Libellé savoir-faire",
)  # fmt: skip
"""The columns of the file of skills."""
_SKILL = itemgetter(*map(COLUMNS_56.index, SKILL_COLUMNS))
_NARROW = itemgetter(*(n for n, name in enumerate(COLUMNS_56) if "savoir-faire" not in name))


class _Bars:
    """A text of separated columns that counts its lines behind the header."""

    def __init__(self, file: TextIO, separator: str = BAR, end: str = BAR) -> None:
        self._file, self._separator, self._end = file, separator, end + "\n"
        self.lines = -1

    def write(self, columns: Iterable[str]) -> None:
        self._file.write(self._separator.join(columns) + self._end)
        self.lines += 1


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _zipped(written: Written, stamp: str) -> Written:
    """The same with the two archives instead of what goes into them."""
    mailboxes = written.mailboxes.with_suffix(".zip")
    register = written.activities.with_name(f"PS_LibreAcces_{stamp}.zip")
    _pack(mailboxes, written.mailboxes)
    _pack(register, written.activities, *([written.skills] if written.skills else []))
    return written._replace(activities=register, mailboxes=mailboxes, skills=None)


def _pack(path: Path, *texts: Path) -> None:
    with zipfile.ZipFile(_part(path), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for text in texts:
            archive.write(text, text.name)
    _part(path).replace(path)
    for text in texts:
        text.unlink()


def _sites(people: int) -> int:
    return max(1, round(people * SITES_SHARE))


def _lines(people: int, seed: int, employers: Employers) -> Iterator[tuple[Person, list[str]]]:
    dice = random.Random(seed)  # noqa: S311 - reproducible fiction, nothing secret
    for person in DEMO_PEOPLE.values():
        yield person, _line(person, dice, 0, employers)
        if person.speciality:
            yield person, _line(person, dice, 1, employers)
    names = family_names()
    # A few names are common, most are rare, as in life.
    weights = [1 / (rank + 10) for rank in range(len(names))]
    dice.shuffle(names)
    cumulative = list(accumulate(weights))
    for serial in range(len(DEMO_PEOPLE) + 1, people + 1):
        person = _person(serial, names, cumulative, dice)
        for written in range(dice.choices((1, 2, 3, 5), (68, 22, 8, 2))[0]):
            yield person, _line(person, dice, written, employers)


def _person(serial: int, names: list[str], cumulative: list[float], dice: random.Random) -> Person:
    woman = dice.random() < 0.62
    name = dice.choices(names, cum_weights=cumulative)[0]
    shape = dice.random()
    if shape < 0.08:
        name = f"{name}-{dice.choice(names)}"
    elif shape < 0.15:
        name = with_particle(name, dice.randrange(100))
    profession = dice.choices(PROFESSIONS, [one.weight for one in PROFESSIONS])[0]
    speciality = None
    if profession is DOCTOR:
        speciality = dice.choices(SPECIALITIES, [one.weight for one in SPECIALITIES])[0]
    elif profession is NURSE and dice.random() < 0.02:
        speciality = ADVANCED_NURSE
    national = _rpps(serial)
    if profession not in (DOCTOR, PHARMACIST, NURSE) and dice.random() < 0.15:
        national = f"{ADELI}00{serial:07d}"
    return Person(
        national,
        name,
        dice.choice(GIVEN_WOMEN if woman else GIVEN_MEN),
        woman,
        profession,
        speciality,
        dice.choices(TOWNS, [town.weight for town in TOWNS])[0],
    )


def _line(person: Person, dice: random.Random, written: int, employers: Employers) -> list[str]:
    """One activity. `written` counts a person's lines: later ones are spelt as clerks please."""
    title = person.profession in (DOCTOR, PHARMACIST) or person.profession.code == "40"
    name, given = person.name.upper(), person.given
    if written:
        name = dice.choice((name, person.name, plain(name)))
        given = dice.choice((given, given.upper(), plain(given)))
    values = {
        "Type d'identifiant PP": person.national[0],
        "Identifiant PP": person.national[1:],
        "Identification nationale PP": person.national,
        "Code civilité d'exercice": "DR" if title else "",
        "Libellé civilité exercice": "Docteur" if title else "",
        "Code civilité": "MME" if person.woman else "M",
        "Libellé civilité": "Madame" if person.woman else "Monsieur",
        "Nom d'exercice": name,
        "Prénom d'exercice": given,
        "Code profession": person.profession.code,
        "Libellé profession": person.profession.label,
        "Code catégorie professionnelle": "C",
        "Libellé catégorie professionnelle": "Civil",
        "Autorité d'enregistrement": "FICTIF",
    }
    if person.speciality:
        values |= {
            "Code type savoir-faire": "S",
            "Libellé type savoir-faire": "Spécialité ordinale",
            "Code savoir-faire": person.speciality.code,
            "Libellé savoir-faire": person.speciality.label,
        }
    kind = dice.random()
    if person in DEMO_PEOPLE.values():
        values |= _practice(person, person.town, dice)
    elif kind < 0.05:
        pass  # registered, practising nowhere at present
    elif kind < 0.06:
        values |= _abroad(dice)
    else:
        town = person.town
        if written and dice.random() < 0.3:
            town = dice.choice([one for one in TOWNS if one.department == town.department])
        values |= _practice(person, town, dice)
        if values["Numéro FINESS site"]:
            values |= _employed(employers.one(town, dice))
        if kind < 0.12:
            values |= _cedex(town)
    return [values.get(column, "") for column in COLUMNS_56]


def _practice(person: Person, town: Town, dice: random.Random) -> dict[str, str]:
    employed = dice.random() < 0.4
    code, kind = dice.choice(STREET_KINDS)
    site = dice.choice(SITES).format(dice.choice(SITE_NAMES))
    if person.profession is PHARMACIST and not employed:
        site = f"Pharmacie {dice.choice(SITE_NAMES)}"
    site = _DEMO_SITES.get(person.national, site)
    finess = f"{town.department_code:0<2}".upper().replace("A", "0").replace("B", "0")[:2]
    finess += f"99{dice.randrange(10**4):04d}"
    return {
        "Code mode exercice": "S" if employed else "L",
        "Libellé mode exercice": "Salarié"
        if employed
        else "Libéral, indépendant, artisan, commerçant",
        "Numéro FINESS site": finess + luhn_key(finess) if employed else "",
        "Raison sociale site": site if dice.random() < 0.9 else site.upper(),
        "Numéro Voie (coord. structure)": str(dice.randint(1, 240)),
        "Indice répétition voie (coord. Structure)": dice.choice(("", "", "", "B")),
        "Code type de voie (coord. structure)": code,
        "Libellé type de voie (coord. structure)": kind,
        "Libellé Voie (coord. structure)": dice.choice(STREETS),
        "Bureau cedex (coord. structure)": f"{town.postcode} {plain(town.name).upper()}",
        "Code postal (coord. structure)": town.postcode,
        "Code commune (coord. structure)": town.commune,
        "Libellé commune (coord. structure)": town.name,
        "Téléphone (coord. structure)": f"{dice.choice(PHONES)}{dice.randrange(1000):03d}",
        "Code département (coord. structure)": town.department_code,
        "Libellé département (coord. structure)": town.department,
        "Code secteur d'activité": "SA01" if employed else "SA07",
        "Libellé secteur d'activité": "Etablissement public de santé"
        if employed
        else "Cabinet individuel",
        "Code genre d'activité": "GENR01",
        "Libellé genre d'activité": "Activité standard de soin ou de pharmacien",
    }


def _employed(employer: Employer | None) -> dict[str, str]:
    if employer is None:
        return {}
    return {"Numéro FINESS site": employer.finess, "Raison sociale site": employer.name}


def _cedex(town: Town) -> dict[str, str]:
    return {
        "Bureau cedex (coord. structure)": f"{town.postcode} {plain(town.name).upper()} CEDEX",
        "Code commune (coord. structure)": "",
        "Libellé commune (coord. structure)": "",
    }


def _abroad(dice: random.Random) -> dict[str, str]:
    postcode, town, country = dice.choice(ABROAD)
    return {
        "Raison sociale site": f"Consultation {dice.choice(SITE_NAMES)}",
        "Code postal (coord. structure)": postcode,
        "Libellé commune (coord. structure)": town,
        "Libellé pays (coord. structure)": country,
    }
