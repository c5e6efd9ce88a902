"""What `miss-server doctor` asks of the identity provider: is it there, are its keys, is its clock."""

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

from miss_protocol.errors import Refused
from miss_protocol.identity.proof import LEEWAY
from miss_server.findings import Finding, bad, ok, warn
from miss_server.provider.settings import ProviderSettings
from miss_server.provider.signing_in import Provider
from miss_server.words import Both

SUBJECT = "identity provider"


async def examine(chosen: ProviderSettings, *, now_ms: int) -> Sequence[Finding]:
    """Fetch its discovery document and its keys, as a node would."""
    provider = Provider(chosen)
    try:
        return await _looked_at(provider, now_ms)
    except Refused as refused:
        return [
            bad(
                SUBJECT,
                Both(f"cannot be used: {refused}", f"inutilisable : {refused}"),
                Both(
                    "Check MISS_PROVIDER_DISCOVERY, MISS_PROVIDER_ISSUER, the network and "
                    "MISS_PROVIDER_CA.",
                    "Vérifiez MISS_PROVIDER_DISCOVERY, MISS_PROVIDER_ISSUER, le réseau et "
                    "MISS_PROVIDER_CA.",
                ),
            )
        ]
    finally:
        await provider.close()


async def _looked_at(provider: Provider, now_ms: int) -> Sequence[Finding]:
    places, keys = await provider.endpoints(), await provider.keys()
    found = [
        ok(
            SUBJECT,
            f"answers as {provider.settings.issuer}, with {len(keys)} keys",
            f"répond comme {provider.settings.issuer}, avec {len(keys)} clés",
        )
    ]
    if provider.settings.ciba and not places.ciba:
        found.append(
            warn(
                SUBJECT,
                Both("offers no CIBA", "n'offre pas CIBA"),
                Both("Take MISS_PROVIDER_CIBA away.", "Retirez MISS_PROVIDER_CIBA."),
            )
        )
    theirs = _when(provider.date)
    if theirs is not None and abs(theirs.timestamp() - now_ms / 1000) > LEEWAY:
        found.append(
            bad(
                SUBJECT,
                Both(
                    "its clock and ours differ by more than a minute: its tokens are refused",
                    "son horloge et la nôtre diffèrent de plus d'une minute : ses jetons sont refusés",
                ),
                Both("Correct this machine's clock.", "Corrigez l'horloge de cette machine."),
            )
        )
    return found


def _when(date: str) -> datetime | None:
    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return None
