"""Which language a person reads: French or English."""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "fr"]
LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Where a POSIX environment names its language; the first that is set counts."""


def language_of(environment: Mapping[str, str]) -> Language:
    """The language of a POSIX environment, by the first set one of `LOCALES`."""
    for name in LOCALES:
        value = environment.get(name)
        if value:
            return "fr" if value.lower().startswith("fr") else "en"
    return "en"


def language_accepted(header: str) -> Language:
    """The preferred one of our languages in an Accept-Language header (RFC 9110 §12.5.4)."""
    best: tuple[float, Language] = (0.0, "en")
    for part in header.split(","):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        primary = tag.strip().lower().split("-")[0]
        if primary in ("fr", "en") and quality > best[0]:
            best = (quality, "fr" if primary == "fr" else "en")
    return best[1]
