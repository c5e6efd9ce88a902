"""What a national identity provider's word is worth: claims of an ID token, read and checked.

The provider signs that a person signed in, and repeats a `nonce` which it was handed. Here that
nonce is a hash of the account's genesis, so the signed token says: *this person holds this genesis*
(rule A4). Whoever has the token can check it, and need not believe the server that shows it.

The signature is not checked here: callers verify it with the provider's keys (RFC 7515), and hand in
the claims that it covers. Both ends use these functions, the server when it enrols somebody and the
clients of their contacts. Spec: 10-identity-provider §3; OpenID Connect Core 1.0 §3.1.3.7.
"""

import base64
import hmac
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from miss_protocol.encoding import fixed
from miss_protocol.errors import Unproven
from miss_protocol.identity.digests import DIGEST_BYTES, digest

LEEWAY = 60
"""Seconds that the clocks of a provider and of who reads its tokens may differ."""
TOKEN_MAX = 16 * 1024
"""Bytes of an ID token. One with ten activities has about 6 KB."""
TEXT_MAX = 200
"""Characters of a name or a level that are taken over from a token."""

_WITHIN = re.compile(r"[13456][0-9][0-9AB][0-9]{7,12}/[0-9A-Za-z-]{1,32}")
"""Of somebody whom a structure numbers (spec 05 §1.1)."""
_TEST_ID = re.compile(r"[A-Za-z0-9]{1,40}")


@dataclass(frozen=True)
class Claimed:
    """What a token says, once every check held.

    Attributes:
        persons: national identifiers as the directory writes them (spec 05 §1.1), the best first.
        name: given and family name as the provider has them; may be empty.
        assurance: the level of the sign-in (`acr`); may be empty.
        issued_ms: when the provider signed it, Unix milliseconds by its clock.
    """

    persons: tuple[str, ...]
    name: str
    assurance: str
    issued_ms: int


def nonce(genesis: bytes) -> str:
    """The `nonce` of a sign-in that vouches for an account: 43 characters of base64url.

    Args:
        genesis: `Roster.genesis`, 32 bytes.

    Raises:
        Malformed: it has another length.
    """
    hashed = digest(b"MiSS/1 nonce", fixed(genesis, DIGEST_BYTES))
    return base64.urlsafe_b64encode(hashed).decode().rstrip("=")


def check(
    claims: Mapping[str, object],
    *,
    issuer: str,
    client: str,
    genesis: bytes | None,
    now_ms: int,
    since_ms: int | None = None,
    levels: Collection[str] = (),
    userinfo: Mapping[str, object] | None = None,
) -> Claimed:
    """Check the claims of a token whose signature holds.

    Args:
        issuer: whose token it must be, exactly.
        client: to whom it must have been given: the operator, as the provider knows it.
        genesis: which genesis its nonce must name; None for a sign-in without a nonce (CIBA), which
            binds nothing and is the operator's word.
        now_ms: present time, Unix milliseconds.
        since_ms: when the sign-in was begun: the token must be of after it, and not be over. None
            for a token that is kept and was checked so when it was new.
        levels: accepted values of `acr`; empty for any.
        userinfo: claims of the provider's userinfo endpoint about the token's `sub` (OpenID Connect
            Core 1.0 §5.3), looked at if the token itself names no person. They come from the provider
            itself, or their signature holds.

    Raises:
        Unproven: with the `reason` of the first check that failed; `person` may be over with a
            `userinfo`.
    """
    if claims.get("iss") != issuer:
        raise Unproven("issuer")
    _check_audience(claims, client)
    if genesis is not None:
        said = claims.get("nonce")
        if not isinstance(said, str) or not _same(said, nonce(genesis)):
            raise Unproven("nonce")
    issued, until, now = _seconds(claims, "iat"), _seconds(claims, "exp"), now_ms // 1000
    if until <= issued:
        raise Unproven("expired")
    if issued > now + LEEWAY:
        raise Unproven("issued")
    if since_ms is not None:
        if until + LEEWAY <= now:
            raise Unproven("expired")
        if issued + LEEWAY < since_ms // 1000:
            raise Unproven("issued")
    level = _text(claims.get("acr"))
    if levels and level not in levels:
        raise Unproven("assurance")
    persons, about = national_ids(claims), claims
    if not persons and userinfo is not None:
        _check_userinfo(userinfo, claims, issuer=issuer, client=client)
        persons, about = national_ids(userinfo), userinfo
    if not persons:
        raise Unproven("person")
    return Claimed(persons, _name(claims) or _name(about), level, issued * 1000)


def _check_userinfo(
    userinfo: Mapping[str, object], claims: Mapping[str, object], *, issuer: str, client: str
) -> None:
    subject = userinfo.get("sub")
    if not isinstance(subject, str) or not subject or subject != claims.get("sub"):
        raise Unproven("subject")  # or somebody's else would be put beside this token
    if userinfo.get("iss", issuer) != issuer:
        raise Unproven("issuer")
    audience = userinfo.get("aud", client)
    if client not in (audience if isinstance(audience, list) else [audience]):
        raise Unproven("audience")


def _name(claims: Mapping[str, object]) -> str:
    names = (_text(claims.get("given_name")), _text(claims.get("family_name")))
    return " ".join(part for part in names if part)


def national_ids(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Whom a token is about, as the directory writes identifiers, each once.

    `SubjectNameID` first, then the `otherIds` of the registers RPPS and ADELI. Never `sub`, which is
    the provider's own name for an entry of its database and changes with that.
    """
    found: dict[str, None] = {}
    subject = claims.get("SubjectNameID")
    if isinstance(subject, str):
        person = _national(subject, "RPPS") or _national(subject, "ADELI")
        if person is None and _WITHIN.fullmatch(subject):
            person = subject
        if person is None and _TEST_ID.fullmatch(subject):
            person = f"8{subject}"  # of a provider's sandbox: no directory of real people has it
        if person is not None:
            found[person] = None
        if person is not None and subject[0].isalpha():
            found[subject] = None  # as a directory of its people writes it that names no type
    others = claims.get("otherIds")
    for one in others if isinstance(others, list) else ():
        value = one.get("identifiant") if isinstance(one, dict) else None
        person = _national(value, one.get("origine")) if isinstance(value, str) else None
        if person is not None:
            found[person] = None
    return tuple(found)


_REGISTERS = {
    # The type's digit may be there already: that is the form `IDNPS`.
    "RPPS": ("8", re.compile(r"8?([0-9]{11})")),
    "ADELI": ("0", re.compile(r"0?([0-9][0-9AB][0-9]{7})")),
}


def _national(value: str, register: object) -> str | None:
    """Type digit and number of a register's identifier."""
    if not isinstance(register, str) or register.upper() not in _REGISTERS:
        return None
    digit, form = _REGISTERS[register.upper()]
    number = form.fullmatch(value)
    return None if number is None else digit + number[1]


def _check_audience(claims: Mapping[str, object], client: str) -> None:
    audience, party = claims.get("aud"), claims.get("azp")
    named = audience if isinstance(audience, list) else [audience]
    if client not in named or (party is not None and party != client):
        raise Unproven("audience")
    if len(named) > 1 and party is None:
        raise Unproven("audience")


def _seconds(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unproven("malformed")
    if not 0 <= value < 1 << 40:
        raise Unproven("malformed")
    return int(value)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _text(value: object) -> str:
    """A short text of a token without characters that move a cursor; anything else as none."""
    if not isinstance(value, str) or len(value) > TEXT_MAX or not value.isprintable():
        return ""
    return value
