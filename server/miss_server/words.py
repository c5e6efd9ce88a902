"""Texts for people, in the language of their environment."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from miss_protocol.languages import LOCALES, Language, language_of

LANGUAGE = language_of(os.environ)


_UNSAID = ("", "C", "POSIX")
"""Locales that are nobody's choice: those of containers and of cron."""


def clinicians_language(setting: Language | None, environment: Mapping[str, str]) -> Language:
    """The language of letters to clinicians: as set, else as the environment says, else French."""
    if setting is not None:
        return setting
    locale = next(filter(None, map(environment.get, LOCALES)), "")
    return "fr" if locale.partition(".")[0] in _UNSAID else language_of(environment)


def tr(en: str, fr: str) -> str:
    """Choose the text in the language of this process's environment."""
    return fr if LANGUAGE == "fr" else en


class Both(NamedTuple):
    """A text for people, for who may read either language."""

    en: str
    fr: str

    def __str__(self) -> str:
        return tr(self.en, self.fr)
