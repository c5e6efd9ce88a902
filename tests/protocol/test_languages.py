"""French where French is asked for, English everywhere else."""

import pytest

from miss_protocol.languages import language_accepted, language_of


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "FR"}, "fr"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "fr_FR", "LC_MESSAGES": "en_GB"}, "en"),
        ({"LANG": "en_GB", "LC_MESSAGES": "fr_FR"}, "fr"),
        ({"LC_ALL": "fr_FR", "LC_MESSAGES": "en_GB", "LANG": "en_GB"}, "fr"),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "fr_BE"}, "fr"),
    ],
)
def test_of_an_environment(environment: dict[str, str], language: str) -> None:
    assert language_of(environment) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA, en;q=0.9", "fr"),
        ("de, FR;q=0.5", "fr"),
        ("en;q=0.4, fr;q=0.5", "fr"),
        ("fr;q=0.4, en;q=0.5", "en"),
        ("fr, en", "fr"),
        ("en, fr;q=1.5", "fr"),
        ("fr;q=0", "en"),
        ("fr;q=much", "en"),
        ("fr;q=", "en"),
        ("*", "en"),
        (";,;q=1,,", "en"),
        ("fr;q=nan", "en"),
    ],
)
def test_of_a_header(header: str, language: str) -> None:
    assert language_accepted(header) == language
