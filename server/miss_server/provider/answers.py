"""What the provider answers to a question to a person (CIBA Core 1.0 §7.3, §11)."""

from dataclasses import dataclass

INTERVAL_DEFAULT, SLOWER_BY = 5, 5
"""Seconds between polls, and how many more after `slow_down`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A sign-in that the person was asked for on their own device. Times are seconds."""

    request: str
    interval: int
    expires: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """The person has not answered; `slower`: we ask too often."""

    slower: bool
