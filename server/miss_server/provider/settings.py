"""What an operator was told when they registered with the provider, checked before it is used."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from miss_server.config import Settings
from miss_server.refusals import Refusal

CALLBACK = "/v1/identity/callback"
"""Where the provider sends the browser back to."""
_WELL_KNOWN = "/.well-known/"


class ProviderSettingsError(Refusal):
    """The settings of the provider do not go together; the text says what to change."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The provider and this server's place with it.

    Attributes:
        discovery: URL of its discovery document, whatever its name.
        issuer: exactly as its tokens say.
        redirect: this server's callback, as it was registered.
        levels: accepted `acr` values, the wished one first; empty for any.
        ciba: whether sign-ins by the person's own app are offered (CIBA, poll).
        seconds: deadline of each question.
    """

    discovery: str
    issuer: str
    client_id: str
    secret: str
    redirect: str
    scope: str
    levels: tuple[str, ...]
    ciba: bool
    seconds: float
    ca: Path | None


def of(settings: Settings) -> ProviderSettings | None:
    """The provider of these settings; None if none is set.

    Raises:
        ProviderSettingsError: some of it is missing or not safe.
    """
    discovery = settings.provider_discovery
    if discovery is None:
        return None
    if not is_safe(discovery):
        raise ProviderSettingsError("MISS_PROVIDER_DISCOVERY must begin with https://")
    if settings.provider_client_id is None or settings.provider_client_secret is None:
        raise ProviderSettingsError(
            "MISS_PROVIDER_CLIENT_ID and provider_client_secret belong to MISS_PROVIDER_DISCOVERY"
        )
    issuer = settings.provider_issuer
    if issuer is None:
        issuer, found, _ = discovery.partition(_WELL_KNOWN)
        if not found:
            raise ProviderSettingsError(
                "set MISS_PROVIDER_ISSUER: the discovery URL does not show it"
            )
    redirect = settings.provider_redirect or f"https://{settings.domain}{CALLBACK}"
    if not is_safe(redirect) or urlsplit(redirect).path != CALLBACK:
        raise ProviderSettingsError(
            f"MISS_PROVIDER_REDIRECT must be https:// and end in {CALLBACK}"
        )
    return ProviderSettings(
        discovery=discovery,
        issuer=issuer,
        client_id=settings.provider_client_id,
        secret=settings.provider_client_secret.get_secret_value(),
        redirect=redirect,
        scope=settings.provider_scope,
        levels=tuple(settings.provider_acr.split()),
        ciba=settings.provider_ciba,
        seconds=settings.provider_seconds,
        ca=settings.provider_ca,
    )


def is_safe(url: str) -> bool:
    """Whether what goes to this URL is encrypted, or does not leave this machine."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None:
        return False
    if parts.scheme == "https":
        return True
    try:
        here = ip_address(parts.hostname).is_loopback
    except ValueError:
        here = parts.hostname == "localhost"
    return parts.scheme == "http" and here
