"""Searches as people type them, each with whom it must find, over a generated edition.

A typist remembers a person or a hospital's department by a few words, adds another one as long as more than
five fit (counted here from the files, without the search), and types: in any order, without accents, by
everyday names, half words, a department's name or number in place of a town, and with every kind of slip. The same edition, count and seed give the same
queries.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from miss_protocol.directory import normalise
from miss_server.importers.activities import COLUMNS_56
from miss_server.importers.mailboxes import MAILBOX_COLUMNS

FIT = 5
"""How many may fit what was remembered: a phone shows so many."""
DEPARTMENTS_EVERY = 10
"""One query of so many looks for a department of a hospital."""
HALF_SHARE = 0.1
BEGINS = 4
"""Letters of a name that are typed at least."""
DEPARTMENT_SHARE = 0.15
"""Of those who remember where, how many know the department only, by its name or its number."""
SLIPS_SHARE = 0.55

SAID = {
    "Médecin": ("docteur", "medecin"),
    "Pharmacien": ("pharmacie", "pharmacien"),
    "Infirmier": ("infirmière", "ide", "infirmier"),
    "Chirurgien-dentiste": ("dentiste",),
    "Sage-femme": ("sage femme", "sagefemme", "maieuticien"),
    "Masseur-kinésithérapeute": ("kiné", "kine", "kinésithérapeute"),
    "Pédicure-podologue": ("podologue", "podo"),
    "Orthophoniste": ("orthophoniste",),
    "Orthoptiste": ("orthoptiste",),
    "Ergothérapeute": ("ergo", "ergothérapeute"),
    "Psychomotricien": ("psychomot", "psychomotricien"),
    "Manipulateur ERM": ("manip radio",),
    "Médecine Générale": ("généraliste", "médecin traitant"),
    "Cardiologie et maladies vasculaires": ("cardio", "cardiologue"),
    "Qualifié en Médecine Générale": ("généraliste",),
    "Spécialiste en Médecine Générale": ("medecin generaliste",),
    "Anesthésie-réanimation": ("anesthésiste",),
    "Chirurgie orthopédique et traumatologie": ("ortho", "chirurgien orthopédique"),
    "Dermatologie et vénéréologie": ("dermato",),
    "Gériatrie": ("gériatre",),
    "Gynécologie-obstétrique": ("gynéco", "gynécologue"),
    "Gastro-entérologie et hépatologie": ("gastro",),
    "Neurologie": ("neuro", "neurologue"),
    "Ophtalmologie": ("ophtalmo",),
    "Pédiatrie": ("pédiatre",),
    "Pneumologie": ("pneumo", "pneumologue"),
    "Psychiatrie": ("psychiatre", "psy"),
    "Radio-diagnostic": ("radiologue",),
    "Rhumatologie": ("rhumato",),
    "Médecine d'urgence": ("urgentiste",),
    "Pratique avancée en pathologies chroniques stabilisées": ("ipa",),
    "CARDIOLOGIE": ("cardio", "cardiologie"),
    "URGENCES": ("urgences",),
    "GERIATRIE": ("gériatrie",),
    "MATERNITE": ("maternité",),
    "CHIRURGIE VISCERALE": ("chirurgie viscérale", "chir viscérale"),
    "SECRETARIAT MEDICAL": ("secrétariat",),
    "LABORATOIRE": ("labo",),
    "IMAGERIE": ("radio", "imagerie"),
    "PEDIATRIE": ("pédiatrie",),
    "PHARMACIE A USAGE INTERIEUR": ("pharmacie", "pui"),
}
"""What people say for what the register writes."""

_NEIGHBOURS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        "zvxszdfghjklmzpmstrygbxwxqae",
        strict=False,
    )
)
"""A key beside each, on a French keyboard."""
_HEARD = (("ph", "f"), ("y", "i"), ("ll", "l"), ("rr", "r"), ("nn", "n"), ("ss", "s"), ("eau", "o"),
          ("th", "t"), ("qu", "k"), ("ss", "c"), ("er", "err"), ("el", "ell"), ("on", "onn"),
          ("z", "s"), ("c", "k"), ("ai", "e"))  # fmt: skip


class Query(NamedTuple):
    """What is typed; the identifier that must be found; and how it was typed."""

    text: str
    expected: str
    kind: str


@dataclass
class _Known:
    """A person or a department, as somebody remembers it."""

    key: str
    name: str
    given: str
    work: str
    towns: list[str] = field(default_factory=list)
    postcodes: list[str] = field(default_factory=list)
    departments: list[tuple[str, str]] = field(default_factory=list)
    """The name and the number of each town's."""


def queries(activities: Path, mailboxes: Path, *, count: int = 200, seed: int = 11) -> list[Query]:
    """Make `count` queries about entries of an edition's files of activities and mailboxes."""
    dice = random.Random(seed)
    departments = count // DEPARTMENTS_EVERY
    chosen = _sample(_people(activities), count - departments, dice)
    rivals = _rivals(_people(activities), {one.key: one for one in chosen})
    made = [_of_person(one, rivals[one.key], dice) for one in chosen]
    made += _of_departments(list(_services(mailboxes)), departments, dice)
    return made


# --- Whom they know -------------------------------------------------------------------------------


def _lines(path: Path, columns: Sequence[str], names: Sequence[str]) -> Iterator[list[str]]:
    places = [list(columns).index(name) for name in names]
    with path.open(encoding="utf-8-sig") as file:
        next(file)
        for line in file:
            split = line.rstrip("\n").split("|")
            yield [split[place] for place in places]


def _people(activities: Path) -> Iterator[_Known]:
    """Everybody of the register, once, the lines of each together."""
    known: _Known | None = None
    for key, name, given, profession, skill, town, postcode, *department in _lines(
        activities,
        COLUMNS_56,
        (
            "Identification nationale PP",
            "Nom d'exercice",
            "Prénom d'exercice",
            "Libellé profession",
            "Libellé savoir-faire",
            "Libellé commune (coord. structure)",
            "Code postal (coord. structure)",
            "Libellé département (coord. structure)",
            "Code département (coord. structure)",
        ),
    ):
        if known is None or known.key != key:
            if known is not None:
                yield known
            known = _Known(key, name, given, skill or profession)
        if town:
            known.towns.append(town)
            known.postcodes.append(postcode)
            known.departments.append((department[0], department[1]))
    if known is not None:
        yield known


def _sample(people: Iterator[_Known], count: int, dice: random.Random) -> list[_Known]:
    """So many of those who have a town, each as likely as another."""
    chosen: list[_Known] = []
    for seen, one in enumerate(one for one in people if one.towns):
        if len(chosen) < count:
            chosen.append(one)
        elif (place := dice.randrange(seen + 1)) < count:
            chosen[place] = one
    return chosen


def _rivals(people: Iterator[_Known], chosen: dict[str, _Known]) -> dict[str, list[_Known]]:
    """For each one, all of whom a word begins as one of the family name: what is typed is taken for the
    beginning of a word, and half a name is no more."""
    beginning: dict[str, list[str]] = defaultdict(list)
    for one in chosen.values():
        for word in _telling(one.name):
            beginning[word[:BEGINS]].append(one.key)
    found: dict[str, list[_Known]] = {key: [] for key in chosen}
    for one in people:
        words = normalise(f"{one.name} {one.given}")
        begins = {word[:letters] for word in words for letters in range(1, BEGINS + 1)}
        for key in {key for begin in begins for key in beginning.get(begin, ())}:
            found[key].append(one)
    return found


def _telling(name: str) -> list[str]:
    return [word for word in normalise(name) if len(word) > 3] or list(normalise(name))


def _services(mailboxes: Path) -> Iterator[_Known]:
    """Departments of hospitals."""
    for kind, number, service, name, last_line in _lines(
        mailboxes,
        MAILBOX_COLUMNS,
        (
            "Type de BAL",
            "Identification Structure",
            "Service de rattachement",
            "Raison Sociale structure BAL",
            "L6LIGNEACHEMINEMENT",
        ),
    ):
        if service and kind != "PER":
            key = f"1{number}.{'-'.join(normalise(service))}"
            yield _Known(key, name, "", service, [last_line.partition(" ")[2]])


# --- What they remember ---------------------------------------------------------------------------


def _of_person(one: _Known, rivals: Sequence[_Known], dice: random.Random) -> Query:
    words = [dice.choice(_telling(one.name))] if dice.random() < 0.3 else [_family(one.name)]
    half = dice.random() < HALF_SHARE
    if half:
        words[0] = words[0][: max(BEGINS, len(words[0]) * 2 // 3)]
    fit = [other for other in rivals if _begins(words[0], other)]
    town = dice.choice(one.towns)
    department = one.departments[one.towns.index(town)]
    far = dice.random() < DEPARTMENT_SHARE
    remembered = dice.sample(["given", "town", "work"], 3)
    for what in remembered[: dice.randint(1, 2)] + remembered:
        if what == "given" and one.given not in words:
            words.append(one.given)
            fit = [other for other in fit if normalise(other.given) == normalise(one.given)]
        elif what == "town" and far and department[0]:
            words.append(dice.choice(department))
            fit = [other for other in fit if department in other.departments]
            far = False  # who is still not found by it knows the town, too
        elif what == "town" and town not in words:
            words.append(town)
            fit = [other for other in fit if _named(town) in map(_named, other.towns)]
        elif what == "work" and one.work in SAID and not set(SAID[one.work]) & set(words):
            words.append(dice.choice(SAID[one.work]))
            fit = [other for other in fit if other.work == one.work]
        if len(fit) <= FIT and len(words) > 1:
            break
    if len(fit) > FIT and one.postcodes:
        words.append(one.postcodes[one.towns.index(town)])
    return _typed(words, one.key, dice, half=half)


def _begins(typed: str, one: _Known) -> bool:
    own = normalise(f"{one.name} {one.given}")
    return all(any(word.startswith(part) for word in own) for part in normalise(typed))


def _of_departments(services: list[_Known], count: int, dice: random.Random) -> list[Query]:
    alike: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in services:
        alike[one.work, one.name, one.towns[0]].append(one.key)
    some = [one for one in services if len(set(alike[one.work, one.name, one.towns[0]])) <= FIT]
    made = []
    for one in dice.sample(some, min(count, len(some))):
        site = [word.lower() for word in one.name.split() if word.lower() not in ("des", "du")]
        words = [dice.choice(SAID[one.work]), *site]
        if one.towns[0] not in one.name:
            words.append(one.towns[0].title())
        made.append(_typed(words, one.key, dice))
    return made


def _family(name: str) -> str:
    return name.title() if name.isupper() else name


def _named(town: str) -> str:
    return " ".join(normalise(town))


# --- How they type --------------------------------------------------------------------------------


def _typed(words: list[str], expected: str, dice: random.Random, *, half: bool = False) -> Query:
    words, kind = list(words), "half a name" if half else "as it is"
    if not half and dice.random() < SLIPS_SHARE:
        long = [at for at, word in enumerate(words) if len(word) > 4 and not word.isdecimal()]
        at = dice.choice(long or range(len(words)))
        words[at], kind = _slipped(words[at], dice)
    habit = dice.randrange(7)
    if habit == 0:
        words = [" ".join(normalise(word)) for word in words]
    elif habit == 1:
        words = [word.upper() for word in words]
    elif habit == 2:
        words.reverse()
    elif habit == 3:
        words.insert(0, dice.choice(("dr", "Mme", "Docteur", "M.")))
    elif habit == 4:
        words = [word.replace("-", " ").replace("Saint", "St").lower() for word in words]
    elif habit == 5:  # as a telephone's keyboard writes it
        words = [word.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") for word in words]
    return Query(" ".join(words), expected, kind)


def _slipped(word: str, dice: random.Random) -> tuple[str, str]:
    """The word with a slip, and which."""
    kinds = ["left out", "put in", "another", "exchanged", "beginning", "heard"]
    kind = dice.choices(kinds, (25, 15, 20, 20, 5, 15))[0]
    if kind == "beginning":
        return _NEIGHBOURS.get(word[0].lower(), "e") + word[1:], "another first letter"
    if kind == "heard":
        fitting = [pair for pair in _HEARD if pair[0] in word.lower()[1:]]
        if fitting:
            written, heard = dice.choice(fitting)
            return word[0] + word[1:].lower().replace(written, heard, 1), "as it is heard"
        kind = "left out"
    slipped = _slip(word, kind, dice)
    if len(word) > 9 and dice.random() < 0.2:
        return _slip(slipped, "exchanged", dice), "two slips"
    return slipped, f"a letter {kind}"


def _slip(word: str, kind: str, dice: random.Random) -> str:
    at = dice.choice([at for at in range(1, len(word) - 1) if word[at : at + 2].isalpha()] or [1])
    before, letter, after = word[:at], word[at], word[at + 1 :]
    neighbour = _NEIGHBOURS.get(letter.lower(), "e")
    if kind == "left out":
        return before + after
    if kind == "put in":
        return before + letter + neighbour + after
    if kind == "another":
        return before + neighbour + after
    return before + after[:1] + letter + after[1:]
