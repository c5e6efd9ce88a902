"""Handing out enrolment codes to people of the directory."""

import secrets
from dataclasses import dataclass

from miss_protocol import limits
from miss_protocol.ids import AccountAddress, new_address
from miss_server.relay.clock import Clock
from miss_server.storage.accounts import Accounts
from miss_server.storage.directory import DirectoryReader

CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Thirty characters that nobody confuses on paper: no 0 O, 1 I L, U V."""
CODE_LENGTH = 12
"""59 bits: with twenty tries an hour from an address, guessing outlasts any code by far."""


class UnknownPerson(LookupError):
    """Nobody of that identifier is in the directory."""


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code to hand over, once, to the person it is for."""

    person: str
    name: str
    account: AccountAddress
    code: str
    expires_ms: int


async def issue_code(
    accounts: Accounts, directory: DirectoryReader, person: str, *, domain: str, clock: Clock
) -> IssuedCode:
    """Open the person's account if there is none and make a code for it.

    An earlier code that was not used ends. Raises `UnknownPerson`.
    """
    now_ms = clock.now_ms()
    entry = await directory.entry(person, now_ms=now_ms)
    if entry is None:
        raise UnknownPerson(person)
    name = " ".join(part for part in (entry.title, entry.given, entry.name) if part)
    address = await accounts.create(
        person, name, new_address(secrets.token_bytes(16), domain), now_ms=now_ms
    )
    code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    expires = now_ms + limits.ENROLMENT_CODE_TTL * 1000
    await accounts.add_code(address, code, expires_ms=expires, now_ms=now_ms)
    shown = "-".join(code[i : i + 4] for i in range(0, CODE_LENGTH, 4))
    return IssuedCode(person, name, address, shown, expires)
