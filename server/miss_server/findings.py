"""What a check of an installation found, and what to do about it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from miss_server.words import Both


class Verdict(StrEnum):
    """`warn` works and should be looked at; `bad` breaks a promise, or will."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `miss-server doctor`. `subject` is a word; `do` says what to change."""

    subject: str
    verdict: Verdict
    text: Both
    do: Both | None = None


Check: TypeAlias = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one thing. What it raises is a finding, too."""


def ok(subject: str, en: str, fr: str) -> Finding:
    """Nothing to do."""
    return Finding(subject, Verdict.OK, Both(en, fr))


def warn(subject: str, text: Both, do: Both) -> Finding:
    """Worth a look."""
    return Finding(subject, Verdict.WARN, text, do)


def bad(subject: str, text: Both, do: Both) -> Finding:
    """To be changed."""
    return Finding(subject, Verdict.BAD, text, do)
