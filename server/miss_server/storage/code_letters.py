"""How codes are spelt that people type: which letters, and how many."""

CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Thirty characters that nobody confuses on paper: no 0 O, 1 I L, U V."""
CODE_LENGTH = 12
"""59 bits: with twenty tries an hour from an address, guessing outlasts any code by far."""


def code_of(random32: bytes) -> str:
    """A code as it is kept, from 32 random bytes: more than it needs, so that none is likelier."""
    number, letters = int.from_bytes(random32), []
    for _ in range(CODE_LENGTH):
        number, place = divmod(number, len(CODE_ALPHABET))
        letters.append(CODE_ALPHABET[place])
    return "".join(letters)


def shown_code(code: str) -> str:
    """A code as it is written on paper."""
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))
