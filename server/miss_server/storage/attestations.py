"""The interface of attestations: who vouches for people without a national number (rule F2).

`tests/contract/test_attestations.py` is the contract suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miss_protocol.ids import AccountAddress


@dataclass(frozen=True, slots=True)
class Attestation:
    """One that is not withdrawn. `name` is the attester's, `holds` whether it counts at present: its
    attester is neither suspended nor leaving."""

    person: str
    attester: AccountAddress
    name: str
    at_ms: int
    holds: bool


class Attestations(Protocol):
    """Who vouches for whom."""

    async def attest(
        self, attester: AccountAddress, person: str, *, most: int, now_ms: int
    ) -> None:
        """Vouch for a person of the directory without a national number; again is the same.

        Raises:
            Refused: not_allowed, the attester is no person of the directory with a national number,
                or is leaving; not_found, no such person there, or one with a national number;
                limit_reached, with `most` already.
        """
        ...

    async def withdraw_attestation(
        self, attester: AccountAddress, person: str, *, now_ms: int
    ) -> None:
        """Vouch no more. Raises `Refused` not_found if there is nothing to withdraw."""
        ...

    async def attestations_by(self, attester: AccountAddress) -> list[Attestation]:
        """Those that an account gave, the latest first."""
        ...

    async def lacking(self, people: Sequence[str]) -> set[str]:
        """Those of these people of the directory for whom somebody has to vouch, and nobody does: without a
        national number, an organisation or an attestation that holds."""
        ...

    async def attestations_of(self, people: Sequence[str]) -> list[Attestation]:
        """Those for these people, the earliest first."""
        ...
