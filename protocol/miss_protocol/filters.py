"""What narrows a search, beside its words: the parameters of `GET /v1/directory` (spec 05 §3.2)."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, get_args

from msgspec import Struct

from miss_protocol.departments import department
from miss_protocol.directory import Kind
from miss_protocol.errors import Code, Malformed, Refused

AtLeast = Literal["miss", "dormant"]
"""`miss`: who can be reached now; `dormant`: whoever has an account."""

CODES_MAX = 10
NEAR_MAX = 64
"""Characters of `near`."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,16}")


class Filters(Struct, frozen=True, omit_defaults=True):
    """Every one that is given must be met; of several codes, one.

    `professions` and `specialities` are the register's codes (TRE_G15, TRE_R38), `department` a number,
    `reach` the least. `near` narrows nothing: it puts what is close first. It is a postcode, the name or
    the INSEE code of a commune, or `latitude,longitude` in degrees (WGS 84).
    """

    kind: Kind | None = None
    professions: tuple[str, ...] = ()
    specialities: tuple[str, ...] = ()
    department: str = ""
    reach: AtLeast | None = None
    near: str = ""

    def parameters(self) -> list[tuple[str, str]]:
        """As they stand in a URL."""
        found = [("profession", code) for code in self.professions]
        found += [("speciality", code) for code in self.specialities]
        for name in ("kind", "department", "reach", "near"):
            value = getattr(self, name)
            if value:
                found.append((name, value))
        return found


UNFILTERED = Filters()


def read_filters(parameters: Iterable[tuple[str, str]]) -> Filters:
    """The filters among the parameters of a URL; an empty value is none, other parameters are ignored.

    Raises:
        Malformed: a kind, a reach, a code or a department that is none, or one of them twice.
        Refused: too_large, for more than `CODES_MAX` codes of a sort or a longer `near`.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if value:
            given.setdefault(name, []).append(value)
    near = _one(given, "near")
    if len(near) > NEAR_MAX:
        raise Refused(Code.TOO_LARGE, "near is too long")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in near):
        raise Malformed("near has a control character")
    number = ""
    if _one(given, "department"):
        found = department(_one(given, "department"))
        if found is None:
            raise Malformed("no such department")
        number = found
    kind: Kind | None = None
    for known in get_args(Kind):
        if _one(given, "kind") == known:
            kind = known
    reach: AtLeast | None = None
    for least in get_args(AtLeast):
        if _one(given, "reach") == least:
            reach = least
    if (kind is None and "kind" in given) or (reach is None and "reach" in given):
        raise Malformed("no such kind or reach")
    return Filters(
        kind, _codes(given, "profession"), _codes(given, "speciality"), number, reach, near
    )


def _one(given: dict[str, list[str]], name: str) -> str:
    values = given.get(name, [])
    if len(values) > 1:
        raise Malformed(f"{name} is given twice")
    return values[0] if values else ""


def _codes(given: dict[str, list[str]], name: str) -> tuple[str, ...]:
    codes = tuple(dict.fromkeys(given.get(name, [])))
    if len(codes) > CODES_MAX:
        raise Refused(Code.TOO_LARGE, f"more than {CODES_MAX} codes")
    if not all(_CODE.fullmatch(code) for code in codes):
        raise Malformed(f"{name} is no code")
    return codes
