"""Texts for people, in the language of their environment."""

import os

from miss_protocol.languages import language_of

LANGUAGE = language_of(os.environ)


def tr(en: str, fr: str) -> str:
    """Choose the text in the language of this process's environment."""
    return fr if LANGUAGE == "fr" else en
