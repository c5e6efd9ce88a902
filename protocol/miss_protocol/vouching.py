"""What other bodies carry of an identity provider. Spec: 10-identity-provider."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from miss_protocol.identity.proof import TOKEN_MAX

TokenText = Annotated[str, Meta(max_length=TOKEN_MAX)]


class ProviderInfo(Struct):
    """In `ServerInfo`: where this server's users can sign in, and how. A client compares `issuer` and
    `client` with those it has pinned; it MUST NOT take its trust in a provider from here."""

    issuer: str
    client: str
    methods: tuple[str, ...]
    renew_days: int = 0


class ProofShown(Struct):
    """What vouches for an account's genesis: a provider's ID token, given to `client`. In `Rosters`.

    `userinfo` is there if the token names no person: a JWS of the same provider that says who the token's
    `sub` is.
    """

    issuer: str
    client: str
    token: TokenText
    userinfo: TokenText | UnsetType = UNSET
