"""Checks of the certificate, or of what stands in its place."""

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from miss_server.config import Settings
from miss_server.edge.certificate import SOON_DAYS, CertificateError, covers, load
from miss_server.findings import Finding, bad, ok, warn
from miss_server.words import Both


def certificate(settings: Settings, now_ms: int) -> Sequence[Finding]:
    """Whether clients can reach the server by TLS, and for how long."""
    if settings.tls_cert is None or settings.tls_key is None:
        return _without(settings)
    try:
        loaded = load(settings.tls_cert, settings.tls_key, now_ms=now_ms)
    except (CertificateError, OSError) as error:
        return [
            bad(
                "certificate",
                Both(str(error), str(error)),
                Both(
                    "Set MISS_TLS_CERT and MISS_TLS_KEY to a chain and its key.",
                    "Indiquez une chaîne et sa clé dans MISS_TLS_CERT et MISS_TLS_KEY.",
                ),
            )
        ]
    days = (loaded.ends - datetime.fromtimestamp(now_ms / 1000, UTC)).days
    text = Both(
        f"matches its key, ends in {days} days", f"correspond à sa clé, expire dans {days} jours"
    )
    if days < SOON_DAYS:
        return [
            warn(
                "certificate",
                text,
                Both("Renew it; the server reads it anew.", "Renouvelez-le ; le serveur le relit."),
            )
        ]
    if not covers(loaded.names, settings.domain):
        names = ", ".join(loaded.names)
        return [
            warn(
                "certificate",
                Both(
                    f"for {names}, not for {settings.domain}",
                    f"pour {names}, pas pour {settings.domain}",
                ),
                Both(
                    "Right if clients reach the server under that name; else get another.",
                    "Correct si les clients joignent le serveur sous ce nom ; sinon changez-le.",
                ),
            )
        ]
    return [ok("certificate", *text)]


def _without(settings: Settings) -> Sequence[Finding]:
    if settings.host == "localhost" or _is_loopback(settings.host) or settings.trusted_proxies:
        return [
            ok(
                "certificate",
                "none: a proxy in front must speak TLS",
                "aucun : un proxy devant doit parler TLS",
            )
        ]
    return [
        warn(
            "certificate",
            Both(
                f"none, and {settings.host} is reached by others",
                f"aucun, et {settings.host} est joignable par d'autres",
            ),
            Both(
                "Set MISS_TLS_CERT and MISS_TLS_KEY, or put a proxy with TLS in front and name it in"
                " MISS_TRUSTED_PROXIES.",
                "Réglez MISS_TLS_CERT et MISS_TLS_KEY, ou placez devant un proxy avec TLS, nommé"
                " dans MISS_TRUSTED_PROXIES.",
            ),
        )
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
