"""Makes one entry of the directory from all lines that its sources have of a person or an organisation.

The first source that names it decides what is shown; the others add to it. A name that has nothing in
common with the first one's is a conflict: it is kept beside, searched, and reported. Where an association's own
list gives a number to two, which no register does, the second one's name is all that is kept.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from miss_protocol.directory import Entry, Place, everyday_words, normalise, place_words
from miss_server.importers.establishments import ESTABLISHMENTS
from miss_server.importers.identifiers import LOCAL, structure_of
from miss_server.importers.lines import ORGANISATION, Line
from miss_server.importers.mailboxes import MAILBOXES
from miss_server.importers.nomenclatures import PROFESSIONS, SPECIALITIES, edition, label
from miss_server.importers.settling import FRANCE, REMEMBERED, department_number
from miss_server.storage.directory import (
    ORGANISATION_MARK,
    Record,
    department_mark,
    name_key,
    place_mark,
    profession_mark,
    sort_key,
    speciality_mark,
)

PLACES_MAX = 20
"""Places shown of one person, those first in the file: locums have had dozens. All are searched."""
MAILBOXES_MAX = 10
EDITION = blake2b(f"7 {edition()}".encode(), digest_size=16).digest()
"""Of what this file makes of the same lines: raise its number whenever that changes, and every entry is
made anew."""

_NOWHERE = Place()
_encode = msgspec.json.Encoder().encode


class Conflict(NamedTuple):
    """One number under names that have nothing in common, or of two in one list: each with its source."""

    person: str
    names: tuple[tuple[str, str], ...]


def merge(
    person: str, told: Sequence[tuple[str, Line]], digest: bytes, found: Conflict | None = None
) -> Record | None:
    """The record of an entry, which shows the conflict that was `found`; None if no line names it.

    `told` has (source, line), the sources in the order in which they are believed, each one's lines in
    their order.
    """
    strangers: Sequence[tuple[str, Line]] = ()
    if found is not None and person.startswith(LOCAL):
        told, strangers = _apart(told)
    lines = [line for _, line in told]
    first, own = _own(told)
    if first is None:
        return None
    sources = tuple(dict.fromkeys([source for source, _ in told]))
    organisation = own[0].kind == ORGANISATION
    code = _best([line.profession_code for line in own])
    skilled = {line.speciality_code or line.speciality: line for line in lines if _skill(line)}
    places = _places(told, organisation=organisation)
    others = tuple(dict.fromkeys(name for _, name in found.names[1:])) if found else ()
    name, given = _named(own)
    mailboxes = [line.mailbox for line in lines if line.mailbox]
    codes = [line.speciality_code for line in skilled.values() if line.speciality_code]
    entry = Entry(
        person=person,
        kind="organisation" if organisation else "person",
        name=name,
        given=given,
        title=_best([line.title for line in own]) or _best([line.civility for line in own]),
        profession=label(PROFESSIONS, code, _best([line.profession for line in own])),
        profession_code=code,
        specialities=_distinct(
            [label(SPECIALITIES, one.speciality_code, one.speciality) for one in skilled.values()]
        ),
        places=tuple(dict.fromkeys(places))[:PLACES_MAX],
        sources=sources,
        speciality_codes=tuple(dict.fromkeys(codes)) if codes else (),
        category=_best([line.category for line in lines]) if organisation else "",
        part_of=next((line.parent for line in lines if line.parent), "") or structure_of(person),
        mailboxes=tuple(dict.fromkeys(mailboxes))[:MAILBOXES_MAX] if mailboxes else (),
        other_names=others,
    )
    return Record(
        person=person,
        sort=sort_key(name, given, person),
        name_key=name_key(name),
        words=" ".join(_words(lines, [line for _, line in strangers], places, entry)),
        digest=digest,
        entry=_encode(entry),
    )


def conflict(person: str, told: Sequence[tuple[str, Line]]) -> Conflict | None:
    """Whether two sources know a person by family names without a common word, or lines of an own list speak of
    two.

    A name in two spellings, or a part of a double name, is none.
    """
    if person.startswith(LOCAL):
        told, others = _apart(told)
        first, own = _own(told)
    else:
        first, own = _own(told)
        believed = {word for line in own for word in _family(line.name)}
        others = [
            (source, line)
            for source, line in told
            if source != first and line.name and not believed & _family(line.name)
        ]
    if not others:
        return None
    different = {(source, f"{line.given} {line.name}".strip()): None for source, line in others}
    shown = " ".join(reversed(_named(own))).strip()
    return Conflict(person, ((first or "", shown), *different.keys()))


def _apart(
    told: Sequence[tuple[str, Line]],
) -> tuple[list[tuple[str, Line]], list[tuple[str, Line]]]:
    """Lines of a local identifier: those of whom the first one speaks, and those of somebody else."""
    ours, strangers = [], []
    kind, name, given = told[0][1].kind, told[0][1].name, told[0][1].given
    known = set(_family(name))
    for source, line in told:
        family = _family(line.name)
        alike = (known & family or line.name == name) and _alike(line.given, given)
        if line.kind == kind and alike:
            known |= family
            ours.append((source, line))
        else:
            strangers.append((source, line))
    return ours, strangers


def _alike(given: str, other: str) -> bool:
    """Whether two given names may be one person's: "Ph." and "Jean-Philippe" may, "Anne" and "Luc" may not."""
    some, others = normalise(given), normalise(other)
    if not some or not others:
        return True
    return any(one.startswith(two) or two.startswith(one) for one in some for two in others)


def _own(told: Sequence[tuple[str, Line]]) -> tuple[str | None, list[Line]]:
    """The first source that names the entry, and its lines."""
    first = next((source for source, line in told if line.name), None)
    return first, [line for source, line in told if source == first and line.name]


def _named(own: Sequence[Line]) -> tuple[str, str]:
    """The name and the given name to show: of the same lines, or they would be somebody's who does not exist."""
    names = [line.name for line in own]
    name = _best(names)
    if names.count(name) < len(names):
        own = [line for line in own if name_key(line.name) == name_key(name)]
    return name, _best([line.given for line in own])


@lru_cache(REMEMBERED)
def _family(name: str) -> frozenset[str]:
    words = normalise(name)
    # A particle that two names share makes them no more alike.
    return frozenset(word for word in words if len(word) > 2) or frozenset(words)


def _skill(line: Line) -> str:
    return line.speciality_code or line.speciality


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts without repetitions of other spelling, in order, without empty ones."""
    given = dict.fromkeys(text for text in texts if text)
    if len(given) < 2:
        return tuple(given)
    return tuple({name_key(text): text for text in reversed(given)}.values())[::-1]


def _best(texts: Sequence[str]) -> str:
    """The spelling to show: of the commonest word or words, the one with most accents.

    The register writes one person differently from line to line: LEFEVRE, Lefèvre, LEFÈVRE.
    """
    if len(texts) == 1:
        return texts[0]
    given = [text for text in texts if text]
    # Of one spelling are nearly all: nothing is counted for them.
    if len(set(given)) < 2:
        return given[0] if given else ""
    counted = Counter(given)
    folded: Counter[str] = Counter()
    for text, count in counted.items():
        folded[name_key(text)] += count
    commonest = max(folded.values())
    candidates = [text for text in counted if folded[name_key(text)] == commonest]
    return max(
        candidates,
        key=lambda text: (
            sum(not character.isascii() for character in text),
            counted[text],
            not text.isupper(),
            text,
        ),
    )


def _places(told: Sequence[tuple[str, Line]], *, organisation: bool) -> list[Place]:
    """The places of all lines. Those of a person's mailboxes are left out beside any other: they are the
    same ones, spelt otherwise."""
    position = ""
    if organisation:  # one file of establishments says in lines of their own where they are
        position = next((line.position for _, line in told if line.position), "")
        told = [(source, line) for source, line in told if line.name or not line.position]
    places = [
        _place(line, position if source == ESTABLISHMENTS else "", organisation=organisation)
        for source, line in told
        if source != MAILBOXES
    ]
    places = [place for place in places if place != _NOWHERE]
    if places:
        return places
    places = [
        _place(line, "", organisation=organisation) for source, line in told if source == MAILBOXES
    ]
    return [place for place in places if place != _NOWHERE]


def _place(line: Line, position: str, *, organisation: bool) -> Place:
    abroad = line.country not in FRANCE
    latitude, _, longitude = position.partition(" ")
    return Place(
        organisation="" if organisation and not line.parent else line.organisation or line.sign,
        address=" ".join(
            f"{line.street_number}{line.street_index} {line.street_kind} {line.street}".split()
        ),
        postcode=line.postcode,
        city=line.city,
        department=line.country if abroad else line.department or _department(line, line.postcode),
        phone=line.phone,
        commune=line.commune,
        latitude=float(latitude) if latitude else None,
        longitude=float(longitude) if longitude else None,
        establishment=f"1{line.finess}" if line.finess and not organisation else "",
    )


def _department(line: Line, postcode: str) -> str:
    """The department's number, by the postcode if the source has none."""
    if line.department_code:
        return department_number(line.department_code)
    if not (len(postcode) == 5 and postcode.isdecimal()):
        return ""
    if postcode.startswith("20"):
        return "2A" if postcode < "20200" else "2B"
    return postcode[:3] if postcode.startswith(("97", "98")) else postcode[:2]


def _words(
    lines: Sequence[Line], strangers: Sequence[Line], places: Sequence[Place], entry: Entry
) -> dict[str, None]:
    """Every word that finds the entry, each once; of `strangers` the names only."""
    words: dict[str, None] = {}
    naming = _service_words if entry.kind == "organisation" else _name_words
    names: set[str] = set()
    labels: set[str] = set()
    where: set[str] = set()
    towns: set[str] = set()
    spots: set[str] = set()
    plain: set[str] = set()
    numbers: set[str] = set()
    for line in lines:
        names.add(line.name)
        where.update((line.organisation, line.sign))
        labels.update((line.profession, line.speciality, line.category))
        words |= _name_words(line.given)
        if line.country in FRANCE:
            numbers.add(_department(line, line.postcode))
    for line in strangers:
        names.add(line.name)
        words |= _name_words(line.given)
    labels.update((entry.profession, *entry.specialities))
    for place in places:
        towns.add(place.city)
        plain.update((place.postcode, place.department))
        spots.add(place.commune or place.postcode)
    for texts, folding in (
        (names, naming),
        (labels, _label_words),
        (where, _place_words),
        (towns, _town_words),
        (plain, _plain_words),
        (numbers, _department_words),
        (spots, _spot_words),
    ):
        for text in texts:
            if text:
                words |= folding(text)
    words |= _marks(entry.kind == "organisation", entry.profession_code, entry.speciality_codes)
    return words


# Labels, towns and given names repeat themselves a million times in a national file.


@lru_cache(REMEMBERED)
def _name_words(name: str) -> dict[str, None]:
    own = normalise(name)
    # "dhaene" and "jeanpierre" are typed as often as "d'haene" and "jean-pierre".
    return dict.fromkeys((*own, "".join(own)) if own else ())


@lru_cache(REMEMBERED)
def _label_words(label_: str) -> dict[str, None]:
    return dict.fromkeys(normalise(label_) + everyday_words(label_))


@lru_cache(REMEMBERED)
def _place_words(name: str) -> dict[str, None]:
    return dict.fromkeys(place_words(name))


@lru_cache(REMEMBERED)
def _service_words(name: str) -> dict[str, None]:
    # A service is called what its people are: "cardiologue" finds the hospital's CARDIOLOGIE.
    return dict.fromkeys((*place_words(name), *everyday_words(name)))


@lru_cache(REMEMBERED)
def _town_words(name: str) -> dict[str, None]:
    own = normalise(name)
    # "saintomer" and "villeneuvedascq" are how a thumb writes them.
    return dict.fromkeys((*place_words(name), "".join(own)) if own else ())


@lru_cache(REMEMBERED)
def _plain_words(text: str) -> dict[str, None]:
    return dict.fromkeys(normalise(text))


@lru_cache(REMEMBERED)
def _department_words(number: str) -> dict[str, None]:
    return dict.fromkeys((*normalise(number), department_mark(number)))


@lru_cache(REMEMBERED)
def _spot_words(code: str) -> dict[str, None]:
    return {place_mark(code): None}


@lru_cache(REMEMBERED)
def _marks(organisation: bool, profession: str, specialities: tuple[str, ...]) -> dict[str, None]:
    marks = [ORGANISATION_MARK] if organisation else []
    if profession:
        marks.append(profession_mark(profession))
    return dict.fromkeys((*marks, *map(speciality_mark, specialities)))
