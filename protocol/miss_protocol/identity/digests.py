"""Hashes of canonical fields, each in a domain of its own. Spec: 04-encryption §1."""

import hashlib

from miss_protocol.encoding import pack

SUITE = b"\x01"
"""Suite 0x01: Olm sessions in an X-Wing envelope. It is part of everything signed or hashed."""

DIGEST_BYTES = 32


def digest(person: bytes, *fields: bytes) -> bytes:
    """BLAKE2b-256 of `pack(*fields)`, personalised: 32 bytes.

    `person` (at most 16 ASCII bytes) keeps a hash of one kind of object from ever being one of
    another kind. Source: RFC 7693 §2.5, the parameter block's personalisation.
    """
    return hashlib.blake2b(pack(*fields), digest_size=DIGEST_BYTES, person=person).digest()
