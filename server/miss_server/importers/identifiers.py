"""Identifiers of entries: of professionals, of organisations, of services and local entries.

Sources: `Type d'identifiant PP` of the register's open files (0 ADELI, 8 RPPS) and PSIdNat, of which the other
types name a person within a structure; Struct_IdNat of the national interoperability framework (1 FINESS,
2 SIREN, 3 SIRET, 4 RPPS practice). RPPS and FINESS numbers end with a Luhn key (ISO/IEC 7812-1, annex B).
"""

import re
from hashlib import sha256

from miss_protocol.directory import WITHIN, normalise

ADELI, RPPS = "0", "8"
_RPPS = re.compile(r"[0-9]{11}")
_ADELI = re.compile(r"[0-9][0-9AB][0-9]{7}")
_FINESS = re.compile(r"[0-9][0-9AB][0-9]{7}")
_TEST = re.compile(r"[0-9A-Za-z]{1,32}")
_OWN = re.compile(r"[0-9A-Za-z-]{1,32}")
_SIREN, _SIRET, _PRACTICE = (
    re.compile(r"[0-9]{9}"),
    re.compile(r"[0-9]{14}"),
    re.compile(r"[0-9]{14}"),
)
_OF_ESTABLISHMENT = "3"
_STRUCTURES = {"1": _ADELI, "3": _FINESS, "4": _SIREN, "5": _SIRET, "6": _PRACTICE}
"""PSIdNat's types of people within structures, and the forms of those structures' numbers."""
_KEYS = {"1": "cab.", "3": "1", "4": "2", "5": "3", "6": "4"}
"""What stands before the same structures' numbers in identifiers of their own."""

_DOUBLED = str.maketrans("0123456789", "0246813579")
"""Each digit doubled, the two digits of a result above nine added."""


def luhn_key(digits: str) -> str:
    """The check digit to write behind `digits`."""
    # By sums of digits: a national file has millions of numbers.
    doubled, plain = digits[::-1][::2].translate(_DOUBLED), digits[::-1][1::2]
    return str(-sum(map(int, doubled + plain)) % 10)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it."""
    return luhn_key(digits[:-1]) == digits[-1]


def fault(type_digit: str, number: str, national: str) -> str | None:
    """What is wrong with an identifier, in English, or `None`.

    ADELI numbers are not checked by their last digit: published ones break the rule.
    """
    if national != type_digit + number:
        return "the national identifier is not the type digit and the identifier"
    if type_digit == RPPS:
        if not _RPPS.fullmatch(number):
            return "an RPPS identifier has eleven digits"
        return None if passes_luhn(number) else "the check digit of the RPPS identifier is wrong"
    if type_digit == ADELI:
        return None if _ADELI.fullmatch(number) else "an ADELI identifier has nine digits"
    if WITHIN in number and type_digit in _STRUCTURES:
        return _fault_within(type_digit, number)
    return "unknown type of identifier"


def _fault_within(type_digit: str, number: str) -> str | None:
    structure, _, own = number.partition(WITHIN)
    if not _STRUCTURES[type_digit].fullmatch(structure) or not _OWN.fullmatch(own):
        return "not a structure's number, a slash and a number within it"
    return finess_fault(structure) if type_digit == _OF_ESTABLISHMENT else None


def structure_of(person: str) -> str:
    """The identifier of the structure that numbers a person, whoever that is; empty if none does."""
    structure, within, _ = person.partition(WITHIN)
    key = _KEYS.get(structure[:1]) if within else None
    return f"{key}{structure[1:]}" if key else ""


def storable(national: str) -> bool:
    """Whether a faulty identifier of a person can still be kept when test identifiers are allowed."""
    structure, within, own = national.partition(WITHIN)
    return is_plain(structure) and (not within or _OWN.fullmatch(own) is not None)


def is_plain(number: str) -> bool:
    """Whether a number is one of letters and digits, and not too long."""
    return _TEST.fullmatch(number) is not None


def finess_fault(number: str) -> str | None:
    """What is wrong with an establishment's number, in English, or `None`.

    Corsican numbers (2A, 2B) are not checked by their last digit: letters have no place in Luhn's rule.
    """
    if not _FINESS.fullmatch(number):
        return "a FINESS number has nine characters"
    if number.isdecimal() and not passes_luhn(number):
        return "the check digit of the FINESS number is wrong"
    return None


SLUG_MAX = 40


def slug(text: str) -> str:
    """Folded words as a part of an identifier; long ones are cut and told apart by a hash."""
    words = "-".join(normalise(text))
    if len(words) <= SLUG_MAX:
        return words
    return f"{words[: SLUG_MAX - 9]}-{sha256(words.encode()).hexdigest()[:8]}"


def service_key(structure: str, service: str) -> str:
    """The identifier of a service of an organisation."""
    return f"{structure}.{slug(service)}"


LOCAL = "local."
"""Begins the identifiers of entries that only an association's own file knows."""


def local_key(source: str, number: str) -> str:
    """The identifier of an entry that only an association's own file knows."""
    return f"{LOCAL}{slug(source)}.{slug(number)}"
