"""What health asks about the edge: the certificate, and whether there is room."""

from miss_server.conditions import Condition, State
from miss_server.edge.admission import Admission
from miss_server.edge.certificate import SOON_DAYS, Certificate
from miss_server.relay.clock import Clock
from miss_server.words import Both

NEARLY_FULL = 0.9
"""Of the connections that there may be: said while there is time to raise the cap."""


class CertificateWatch:
    """Whether the certificate in use is good, and its files too."""

    part, vital = "certificate", False

    def __init__(self, certificate: Certificate, clock: Clock) -> None:
        self._certificate = certificate
        self._clock = clock

    async def condition(self) -> Condition:
        """See `Watched`."""
        days = self._certificate.days_left(self._clock.now_ms())
        if days <= 0:
            return Condition(State.FAILED, _ENDED)
        if self._certificate.trouble is not None:
            return Condition(State.DEGRADED, _NOT_USED)
        return Condition(State.DEGRADED, _SOON) if days < SOON_DAYS else _GOOD


class RoomWatch:
    """Whether there is room for more connections."""

    part, vital = "connections", False

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def condition(self) -> Condition:
        """See `Watched`."""
        limit = self._admission.limits.connections
        if self._admission.connections >= NEARLY_FULL * limit:
            return Condition(State.DEGRADED, _NEARLY_FULL)
        return _ROOM


_GOOD = Condition(State.OK, Both("The certificate is valid.", "Le certificat est valable."))
_SOON = Both(
    "The certificate ends within 14 days. Renew it.",
    "Le certificat expire dans moins de 14 jours. Renouvelez-le.",
)
_ENDED = Both(
    "The certificate has ended: no client connects. Renew it.",
    "Le certificat a expiré : plus aucun client ne se connecte. Renouvelez-le.",
)
_NOT_USED = Both(
    "The new certificate cannot be used, the old one stays: the log says why.",
    "Le nouveau certificat est inutilisable, l'ancien reste : le journal dit pourquoi.",
)
_ROOM = Condition(State.OK, Both("There is room for connections.", "Il reste des connexions."))
_NEARLY_FULL = Both(
    "Nearly all connections are in use. Raise MISS_MAX_CONNECTIONS or start another node.",
    "Presque toutes les connexions sont prises. Augmentez MISS_MAX_CONNECTIONS ou ajoutez un nœud.",
)
