"""Identity providers that this application trusts, and what their tokens are worth. Spec: 10 §4.

A server of ours hands over tokens, never the trust: providers and their discovery URLs are built in or
configured (`MISS_PROVIDERS`), keys are fetched from the provider itself, and a key that verified a
token is kept with it, so that the finding outlives the provider's change of keys.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from miss_client.calls import check_url
from miss_client.errors import Unreachable
from miss_client.records import Vouched
from miss_protocol.errors import Unproven
from miss_protocol.identity import proof
from miss_protocol.vouching import ProofShown

NATIONAL = (
    "https://auth.esw.esante.gouv.fr/auth/realms/esante-wallet"
    "/.well-known/wallet-openid-configuration"
)
"""Pro Santé Connect."""
ANSWER_MAX = 256 * 1024
PATIENCE = 10.0
ANEW_SECONDS = 60.0
"""A token that a server made up may name any key: the provider is not asked for each."""


@dataclass
class Provider:
    """One that is trusted: `authorization` is where its sign-in page is, once it was asked."""

    issuer: str
    discovery: str
    authorization: str = ""
    keys: tuple[Mapping[str, Any], ...] = ()
    fetched: float = float("-inf")


class Providers:
    """The trusted ones, by issuer.

    Args:
        discoveries: URLs of discovery documents; by default the national provider's and those in
            `MISS_PROVIDERS`, separated by spaces. The issuer is what stands before `/.well-known/`.
    """

    def __init__(self, discoveries: Iterable[str] | None = None) -> None:
        if discoveries is None:
            discoveries = (NATIONAL, *os.environ.get("MISS_PROVIDERS", "").split())
        self._trusted = {
            issuer: Provider(issuer, url)
            for url in discoveries
            for issuer in (url.partition("/.well-known/")[0],)
        }

    def trusts(self, issuer: str) -> bool:
        """Whether this application has the provider among its own."""
        return issuer in self._trusted

    async def authorization(self, issuer: str) -> str:
        """The provider's sign-in page. Raises `Unreachable`, or `Unproven` for one not trusted."""
        provider = self._known(issuer)
        if not provider.authorization:
            await self._fetch(provider)
        return provider.authorization

    async def vouched(
        self,
        shown: ProofShown,
        *,
        genesis: bytes,
        person: str,
        client: str | None,
        now_ms: int,
        since_ms: int | None = None,
    ) -> Vouched:
        """Check a token, and what it says against what the server says.

        Args:
            genesis: the account's, as this client verified it.
            person: of whom the server says that the account is.
            client: the operator, as pinned; None to take the token's own.
            since_ms: for this client's own, new one: when its sign-in was begun.

        Raises:
            Unproven: with a reason of spec 10 §3.1.
            Unreachable: the provider's keys cannot be fetched now.
        """
        provider = self._known(shown.issuer)
        claims, key = await self._claims(provider, shown.token)
        userinfo = None
        if isinstance(shown.userinfo, str):
            userinfo, _ = await self._claims(provider, shown.userinfo)
        said = proof.check(
            claims,
            issuer=provider.issuer,
            client=client or shown.client,
            genesis=genesis,
            now_ms=now_ms,
            since_ms=since_ms,
            userinfo=userinfo,
        )
        if person not in said.persons:
            raise Unproven("person")
        return Vouched(
            issuer=provider.issuer,
            client=client or shown.client,
            token=shown.token,
            key=msgspec.json.encode(key),
            persons=said.persons,
            name=said.name,
            level=said.assurance,
            issued_ms=said.issued_ms,
            userinfo=shown.userinfo if isinstance(shown.userinfo, str) else "",
        )

    def _known(self, issuer: str) -> Provider:
        provider = self._trusted.get(issuer)
        if provider is None:
            raise Unproven("issuer")
        return provider

    async def _claims(
        self, provider: Provider, token: str
    ) -> tuple[dict[str, Any], Mapping[str, Any]]:
        # Its libraries take 100 ms to load, and most commands see no token.
        from miss_client.tokens import verified

        try:
            return verified(token, provider.keys)
        except Unproven as unproven:
            if unproven.reason not in ("key", "signature"):
                raise
            if time.monotonic() - provider.fetched < ANEW_SECONDS:
                raise
        await self._fetch(provider)
        return verified(token, provider.keys)

    async def _fetch(self, provider: Provider) -> None:
        document = await _get(provider.discovery)
        if document.get("issuer") != provider.issuer:
            raise Unreachable("the provider's document is of another issuer")
        page, keys = document.get("authorization_endpoint"), document.get("jwks_uri")
        if not isinstance(page, str) or not isinstance(keys, str):
            raise Unreachable("the provider's document is not complete")
        check_url(page)
        check_url(keys)
        listed = (await _get(keys)).get("keys")
        provider.keys = tuple(one for one in (listed if isinstance(listed, list) else ()) if one)
        provider.authorization, provider.fetched = page, time.monotonic()


async def _get(url: str) -> dict[str, Any]:
    check_url(url)
    body = b""
    try:
        async with (
            asyncio.timeout(PATIENCE),
            httpx2.AsyncClient(timeout=PATIENCE) as http,
            http.stream("GET", url) as response,
        ):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_MAX:
                    raise Unreachable("an oversized answer of the provider")
            if response.status_code != 200:
                raise Unreachable(f"HTTP {response.status_code} of the provider")
        document = msgspec.json.decode(body)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        raise Unreachable(f"the provider: {type(error).__name__}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unreachable("no document of the provider")
    return document
