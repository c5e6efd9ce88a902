"""Signatures of ID tokens (JWS, RFC 7515) by `joserfc`, and the provider's keys (RFC 7517).

What the claims say is checked by `miss_protocol.identity.proof`, for both ends alike.
"""

import base64
import json
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
"""Accepted algorithms and the kind of key of each. No `none`, and no HS*: with those, a public key
taken as a shared secret would let anybody sign (RFC 8725 §2.1)."""


class _Registry(JWSRegistry):
    max_header_length = 4096  # a certificate's thumbprint, and whatever else providers write there
    max_payload_length = TOKEN_MAX


class Keys:
    """A provider's public keys, as its `jwks_uri` has them.

    Raises:
        ValueError: not a key set, or none of its keys can verify a signature.
    """

    def __init__(self, document: object) -> None:
        listed = document.get("keys") if isinstance(document, dict) else None
        self._keys = [
            key for one in (listed if isinstance(listed, list) else ()) for key in _key(one)
        ]
        if not self._keys:
            raise ValueError("no key that verifies signatures")

    def __len__(self) -> int:
        return len(self._keys)

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature holds.

        Raises:
            Unproven: `malformed`, `algorithm`, `key` (fetch the keys anew, once) or `signature`.
        """
        header = _header(token)
        algorithm, name = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in _KINDS:
            raise Unproven("algorithm")
        fitting = [
            key
            for key in self._keys
            if isinstance(key, _KINDS[algorithm])
            and (name is None or key.kid == name)
            and key.get("alg") in (None, algorithm)
        ]
        if not fitting:
            raise Unproven("key")
        registry = _Registry(algorithms=[algorithm], strict_check_header=False)
        for key in fitting:
            try:
                return dict(jwt.decode(token, key, registry=registry).claims)
            except (JoseError, ValueError, RecursionError) as error:
                fault = "signature" if _is_signature(error) else "malformed"
        raise Unproven(fault)


def _is_signature(error: Exception) -> bool:
    return getattr(error, "error", "") == "bad_signature"


def _header(token: str) -> dict[str, Any]:
    if len(token) > TOKEN_MAX or not token.isascii() or token.count(".") != 2:
        raise Unproven("malformed")
    part = token.partition(".")[0]
    try:
        header = json.loads(_decode(part))
    except (ValueError, RecursionError):
        raise Unproven("malformed") from None
    if not isinstance(header, dict):
        raise Unproven("malformed")
    return header


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


_PUBLIC = frozenset({"kty", "kid", "alg", "use", "n", "e", "crv", "x", "y"})


def _key(document: object) -> list[Key]:
    """A key that may verify signatures; nothing for any other, which later providers may add."""
    if not isinstance(document, dict) or document.get("use", "sig") != "sig":
        return []
    kind, modulus = document.get("kty"), document.get("n")
    if kind not in ("RSA", "EC", "OKP"):
        return []
    if kind == "RSA" and not (isinstance(modulus, str) and len(modulus) * 6 >= RSA_BITS_MIN):
        return []
    try:
        return [JWKRegistry.import_key({n: one for n, one in document.items() if n in _PUBLIC})]
    except (JoseError, ValueError, TypeError, KeyError):
        return []
