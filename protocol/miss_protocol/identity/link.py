"""The approval code of a new device: shown by the new one, typed or scanned into an old one.

The old device fetches the new one's certificate from the server and approves it only if the code
matches, so the server cannot put a certificate of its own in its place. Spec: 04-encryption §3.
"""

import base64
import hmac

from miss_protocol.errors import Malformed
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.digests import digest

CODE_CHARACTERS = 16
"""80 bits: a second certificate with the same code takes 2^80 trials within minutes."""

_GROUP = 4
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
# Digits that base32 does not have, read as the letters that people take for them.
_NO_SEPARATORS = str.maketrans("", "", " -\u2010\u2011\u2013\u00a0\u202f\t")
_READ_AS = str.maketrans("018", "OIB", " -\u2010\u2011\u2013\u00a0\u202f\t")


def approval_code(certificate: DeviceCertificate) -> str:
    """Sixteen base32 characters in groups of four: `ABCD-EFGH-IJKL-MNOP`."""
    hashed = digest(b"MiSS/1 link", certificate.id)
    return _grouped(base64.b32encode(hashed[:10]).decode())


def genesis_code(genesis: bytes) -> str:
    """What an invitation carries beside the server's code: which account the new device joins.

    Without it a server could show the new device a genesis of its own under the account's address,
    and the new device would encrypt everything to the server's "other devices" of the account.
    """
    return _grouped(base64.b32encode(digest(b"MiSS/1 joining", genesis)[:10]).decode())


def invitation(code: str, genesis: bytes) -> str:
    """An invitation as it is shown to the new device: the server's code, then `genesis_code`."""
    return f"{code}-{genesis_code(genesis)}"


def read_invitation(text: str) -> tuple[str, str]:
    """The server's code and the `genesis_code` of a typed invitation.

    Raises:
        Malformed: too short to be one.
    """
    letters = text.strip().translate(_NO_SEPARATORS)
    code, genesis = letters[:-CODE_CHARACTERS], letters[-CODE_CHARACTERS:]
    if not code:
        raise Malformed("not an invitation")
    return code, read_code(genesis)


def read_code(text: str) -> str:
    """Read a code as typed by a person, into the form that `approval_code` writes.

    Case, spaces and hyphens do not matter; 0, 1 and 8 are read as O, I and B.

    Raises:
        Malformed: not sixteen base32 characters.
    """
    letters = text.strip().upper().translate(_READ_AS)
    if len(letters) != CODE_CHARACTERS or not _ALPHABET.issuperset(letters):
        raise Malformed("not an approval code")
    return _grouped(letters)


def matches(code: str, certificate: DeviceCertificate) -> bool:
    """Whether a typed code names this certificate. Only then may the device be approved.

    Raises:
        Malformed: as `read_code`.
    """
    return hmac.compare_digest(read_code(code), approval_code(certificate))


def _grouped(letters: str) -> str:
    return "-".join(letters[at : at + _GROUP] for at in range(0, CODE_CHARACTERS, _GROUP))
