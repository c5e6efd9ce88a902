"""Texts for people, in the language of their environment."""

import os
from typing import NamedTuple

from miss_protocol.languages import language_of

LANGUAGE = language_of(os.environ)


def tr(en: str, fr: str) -> str:
    """Choose the text in the language of this process's environment."""
    return fr if LANGUAGE == "fr" else en


class Both(NamedTuple):
    """A text for people, for who may read either language."""

    en: str
    fr: str

    def __str__(self) -> str:
        return tr(self.en, self.fr)
