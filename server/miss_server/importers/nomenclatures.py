"""Labels of professions and specialities, from the official nomenclatures (`nomenclatures.csv`).

A code that is not among them keeps the label that its source writes, or is shown as it is: the file
may be older than the register.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from miss_protocol.directory import Nomenclature

PROFESSIONS, SPECIALITIES = "G15", "R38"
"""The nomenclatures TRE_G15-ProfessionSante and TRE_R38-SpecialiteOrdinale."""

_EDITION = re.compile(r"(TRE_[\w-]+) ([\d.]+) of (\d{4}-\d\d-\d\d)")
_FILE = Path(__file__).with_name("nomenclatures.csv")


@cache
def labels(nomenclature: str) -> Mapping[str, str]:
    """Labels by code."""
    rows = (line.split(";", 2) for line in _content().splitlines() if not line.startswith("#"))
    return {code: label for name, code, label in rows if name == nomenclature}


@cache
def edition() -> str:
    """Which source and versions the labels are from, as the file says it."""
    return _content().splitlines()[0].removeprefix("# ")


@cache
def editions() -> tuple[Nomenclature, ...]:
    """The same, each nomenclature by itself."""
    return tuple(Nomenclature(*found) for found in _EDITION.findall(edition()))


def label(nomenclature: str, code: str, written: str) -> str:
    """The official label of a code; otherwise what the source writes, otherwise the code."""
    return labels(nomenclature).get(code) or written or code


@cache
def _content() -> str:
    return _FILE.read_text("utf-8")
