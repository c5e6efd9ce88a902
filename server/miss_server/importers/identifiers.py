"""National identifiers of professionals: a type digit and a number with a check digit.

Source: `Type d'identifiant PP` of the register's open files (0 ADELI, 8 RPPS); RPPS numbers end
with a Luhn key (ISO/IEC 7812-1, annex B).
"""

import re

ADELI, RPPS = "0", "8"
_RPPS = re.compile(r"[0-9]{11}")
_ADELI = re.compile(r"[0-9][0-9AB][0-9]{7}")
_TEST = re.compile(r"[0-9A-Za-z]{1,32}")


def luhn_key(digits: str) -> str:
    """The check digit to write behind `digits`."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


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
    return "unknown type of identifier"


def storable(national: str) -> bool:
    """Whether a faulty identifier can still be kept when test identifiers are allowed."""
    return _TEST.fullmatch(national) is not None
