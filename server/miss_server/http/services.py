"""What the HTTP calls and the socket work with, put together once by `app`."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from starlette.requests import HTTPConnection

from miss_protocol.api import Charter
from miss_protocol.vouching import ProviderInfo
from miss_server.config import Settings
from miss_server.doorbell.interface import Doorbell
from miss_server.edge.admission import Admission
from miss_server.edge.certificate import Certificate
from miss_server.http.beginnings import Beginnings
from miss_server.http.throttle import Throttle
from miss_server.relay.clock import Clock
from miss_server.relay.delivery import Delivery
from miss_server.relay.hub import Hub
from miss_server.relay.login import Login
from miss_server.relay.sweep import Sweep
from miss_server.storage.accounts import Accounts
from miss_server.storage.attestations import Attestations
from miss_server.storage.departures import Departures
from miss_server.storage.directory import DirectoryReader
from miss_server.storage.invitations import Invitations
from miss_server.storage.meeting import Meeting
from miss_server.storage.messages import Messages
from miss_server.storage.organisations import Organisations
from miss_server.storage.proofs import Proofs
from miss_server.storage.recoveries import Recoveries
from miss_server.storage.reports import Reports
from miss_server.storage.standing import Standings
from miss_server.tallies import DoorTally

if TYPE_CHECKING:
    from miss_server.provider.signing_in import Provider


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a call may need."""

    settings: Settings
    charter: Charter
    messages: Messages
    accounts: Accounts
    directory: DirectoryReader
    invitations: Invitations
    departures: Departures
    standings: Standings
    reports: Reports
    attestations: Attestations
    organisations: Organisations
    meeting: Meeting
    recoveries: Recoveries
    doorbell: Doorbell
    hub: Hub
    sweep: Sweep
    delivery: Delivery
    login: Login
    throttle: Throttle
    clock: Clock
    admission: Admission
    certificate: Certificate | None
    proofs: Proofs
    beginnings: Beginnings
    provider: "Provider | None" = None
    provider_info: ProviderInfo | None = None
    tally: DoorTally = field(default_factory=DoorTally)


def services(connection: HTTPConnection) -> Services:
    """The services of the application that a request came to."""
    return cast(Services, connection.app.state.services)
