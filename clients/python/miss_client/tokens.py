"""Signatures of ID tokens (JWS, RFC 7515) by `joserfc`, with a provider's keys (RFC 7517).

What the claims say is checked by `miss_protocol.identity.proof`.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from miss_protocol.errors import Unproven
from miss_protocol.identity.proof import TOKEN_MAX

RSA_BITS_MIN = 2048

_KINDS: dict[str, type[Key]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSAKey),
    **dict.fromkeys(("ES256", "ES384", "ES512"), ECKey),
    "Ed25519": OKPKey,
}
"""No `none`, and no HS*, for which a public key would be a shared secret (RFC 8725 §2.1)."""
_PUBLIC = frozenset({"kty", "kid", "alg", "use", "n", "e", "crv", "x", "y"})


class _Registry(JWSRegistry):
    max_header_length = 4096
    max_payload_length = TOKEN_MAX


def verified(
    token: str, keys: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The claims of a token whose signature holds, and the key (a JWK) by which it does.

    Raises:
        Unproven: `malformed`, `algorithm`, `key` or `signature`.
    """
    header = _header(token)
    algorithm, name = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in _KINDS:
        raise Unproven("algorithm")
    fault = "key"
    for document in keys:
        key = _key(document)
        if not isinstance(key, _KINDS[algorithm]) or name not in (None, key.kid):
            continue
        registry = _Registry(algorithms=[algorithm], strict_check_header=False)
        try:
            return dict(jwt.decode(token, key, registry=registry).claims), key.as_dict(
                private=False
            )
        except (JoseError, ValueError, RecursionError) as error:
            bad = getattr(error, "error", "") == "bad_signature"
            fault = "signature" if bad else "malformed"
    raise Unproven(fault)


def _header(token: str) -> dict[str, Any]:
    if len(token) > TOKEN_MAX or not token.isascii() or token.count(".") != 2:
        raise Unproven("malformed")
    part = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise Unproven("malformed") from None
    if not isinstance(header, dict):
        raise Unproven("malformed")
    return header


def _key(document: object) -> Key | None:
    """A key that may verify signatures; None for any other."""
    if not isinstance(document, dict) or document.get("use", "sig") != "sig":
        return None
    kind, modulus = document.get("kty"), document.get("n")
    if kind not in ("RSA", "EC", "OKP"):
        return None
    if kind == "RSA" and not (isinstance(modulus, str) and len(modulus) * 6 >= RSA_BITS_MIN):
        return None
    try:
        return JWKRegistry.import_key({n: one for n, one in document.items() if n in _PUBLIC})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
