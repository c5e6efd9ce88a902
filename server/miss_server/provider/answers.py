"""What the provider grants for a sign-in, and what it answers to a question to a person (CIBA Core 1.0
§7.3, §11)."""

from dataclasses import dataclass

from miss_protocol.identity.proof import Claimed

INTERVAL_DEFAULT, SLOWER_BY = 5, 5
"""Seconds between polls, and how many more after `slow_down`."""


@dataclass(frozen=True, slots=True)
class Granted:
    """An ID token, and the access token for the provider's userinfo endpoint; empty without one."""

    token: str
    access: str


@dataclass(frozen=True, slots=True)
class Proven:
    """What a sign-in proves, and by what others can check it.

    Attributes:
        token: the ID token; empty if it alone does not name the person and nothing signed does: then
            who it is is only this server's word.
        userinfo: a JWS that says who the token's `sub` is, where the token itself does not.
    """

    said: Claimed
    token: str
    userinfo: str


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
