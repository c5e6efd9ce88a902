"""Makes one entry of the directory from all lines of one person."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from miss_protocol.directory import Entry, Place, everyday_words, normalise, place_words
from miss_server.importers.activities import Activity
from miss_server.storage.directory import Record

SOURCE = "RPPS"
"""The name under which the register asks to be cited (Licence Ouverte 2.0), with the file's date."""
PLACES_MAX = 20
"""Places shown of one person, those first in the file: locums have had dozens. All are searched."""

_CEDEX = re.compile(r"(?P<postcode>[0-9]{5})\s+(?P<city>.+)")
_CEDEX_MARK = re.compile(r"\s+cedex(\s+[0-9]+)?$", re.IGNORECASE)
_FRANCE = {"", "france"}
_REMEMBERED = 20_000
_encode = msgspec.json.Encoder().encode


def merge(activities: Sequence[Activity]) -> tuple[str, Record]:
    """The record of a person, and the text by which records are sorted. Lines in file order."""
    first = activities[0]
    places = [_place(line) for line in activities]
    entry = Entry(
        person=first.national,
        kind="person",
        name=_best(line.name for line in activities),
        given=_best(line.given for line in activities),
        title=_best(line.title for line in activities)
        or _best(line.civility for line in activities),
        profession=_best(line.profession for line in activities),
        profession_code=_best(line.profession_code for line in activities),
        specialities=_distinct(line.speciality for line in activities),
        places=tuple(place for place in dict.fromkeys(places) if place != Place())[:PLACES_MAX],
        sources=(SOURCE,),
    )
    encoded = _encode(entry)
    name_key = " ".join(normalise(entry.name))
    given_key = " ".join(normalise(entry.given))
    record = Record(
        person=entry.person,
        name_key=name_key,
        words=" ".join(_words(activities, places)),
        digest=hashlib.sha256(encoded).digest()[:16],
        entry=encoded,
    )
    return f"{name_key}\x1f{given_key}\x1f{entry.person}", record


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts without repetitions of other spelling, in order, without empty ones."""
    given = dict.fromkeys(text for text in texts if text)
    return tuple({normalise(text): text for text in reversed(given)}.values())[::-1]


def _best(texts: Iterable[str]) -> str:
    """The spelling to show: of the commonest word or words, the one with most accents.

    The register writes one person differently from line to line: LEFEVRE, Lefèvre, LEFÈVRE.
    """
    counted = Counter(text for text in texts if text)
    if len(counted) < 2:
        return next(iter(counted), "")
    folded: Counter[tuple[str, ...]] = Counter()
    for text, count in counted.items():
        folded[normalise(text)] += count
    commonest = max(folded.values())
    candidates = [text for text in counted if folded[normalise(text)] == commonest]
    return max(
        candidates,
        key=lambda text: (
            sum(not character.isascii() for character in text),
            counted[text],
            not text.isupper(),
            text,
        ),
    )


def _place(line: Activity) -> Place:
    postcode, city = line.postcode, line.city
    cedex = _CEDEX.fullmatch(line.cedex)
    if cedex and not city:
        postcode = postcode or cedex["postcode"]
        city = _CEDEX_MARK.sub("", cedex["city"])
    return Place(
        organisation=line.organisation or line.sign,
        address=" ".join(
            part
            for part in (line.street_number + line.street_index, line.street_kind, line.street)
            if part
        ),
        postcode=postcode,
        city=city,
        department=line.country
        if _is_abroad(line)
        else line.department or _department(line, postcode),
        phone=line.phone,
    )


def _is_abroad(line: Activity) -> bool:
    return line.country.casefold() not in _FRANCE


def _department(line: Activity, postcode: str) -> str:
    """The department's number, by the postcode if the source has none."""
    if line.department_code:
        return line.department_code.removeprefix("0").rjust(2, "0")
    if not (len(postcode) == 5 and postcode.isdecimal()):
        return ""
    if postcode.startswith("20"):
        return "2A" if postcode < "20200" else "2B"
    return postcode[:3] if postcode.startswith(("97", "98")) else postcode[:2]


def _words(activities: Sequence[Activity], places: Sequence[Place]) -> dict[str, None]:
    """Every word that finds the person, each once."""
    words: dict[str, None] = {}
    for line, place in zip(activities, places, strict=True):
        words |= _name_words(line.name) | _name_words(line.given)
        words |= _label_words(line.profession) | _label_words(line.speciality)
        for name in (line.organisation, line.sign, place.city):
            words |= _place_words(name)
        number = "" if _is_abroad(line) else _department(line, place.postcode)
        words |= _plain_words(f"{place.postcode} {place.department} {number}")
    return words


# Labels, towns and given names repeat themselves a million times in a national file.


@lru_cache(_REMEMBERED)
def _name_words(name: str) -> dict[str, None]:
    own = normalise(name)
    # "dhaene" and "jeanpierre" are typed as often as "d'haene" and "jean-pierre".
    return dict.fromkeys((*own, "".join(own)) if own else ())


@lru_cache(_REMEMBERED)
def _label_words(label: str) -> dict[str, None]:
    return dict.fromkeys(normalise(label) + everyday_words(label))


@lru_cache(_REMEMBERED)
def _place_words(name: str) -> dict[str, None]:
    return dict.fromkeys(place_words(name))


@lru_cache(_REMEMBERED)
def _plain_words(text: str) -> dict[str, None]:
    return dict.fromkeys(normalise(text))
