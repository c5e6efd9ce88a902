"""What is written into the audit log: deeds of operators, of administrators of organisations, of
people about themselves and of the server.

Whoever changes what somebody may do or is shown as, appends a `Deed` in the very transaction of the
change (`sql.audit.append`), so that there is neither a change without its entry nor an entry
without its change. Spec: 09-standing §1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from miss_protocol.audit import AuditEntry, Head

DETAIL_MAX = 4_096
"""Bytes of a detail: a few names and numbers, never a text that somebody sent."""

SERVER = "server"
"""The actor of what the server does by itself, as at the end of a period."""

Detail = Mapping[str, "str | int | bool | Sequence[str]"]


class Action(Enum):
    """The closed list of actions. A word that was written once keeps its meaning for good."""

    CODE_MADE = "code_made"
    CODE_ENDED = "code_ended"
    ADMINISTRATOR_ADDED = "administrator_added"
    ADMINISTRATOR_REMOVED = "administrator_removed"
    LINK_ENDED = "link_ended"
    DEVICES_ENDED = "devices_ended"
    ACCOUNT_RESTRICTED = "account_restricted"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_REINSTATED = "account_reinstated"
    BUDGET_SET = "budget_set"
    ATTESTATION_MADE = "attestation_made"
    ATTESTATION_ENDED = "attestation_ended"
    DEPARTURE_BEGUN = "departure_begun"
    DEPARTURE_ENDED = "departure_ended"
    RECOVERY_CODE_MADE = "recovery_code_made"
    RECOVERY_BEGUN = "recovery_begun"
    RECOVERY_STOPPED = "recovery_stopped"
    RECOVERY_DONE = "recovery_done"
    INVITATION_SENT = "invitation_sent"
    INVITATION_NOT_SENT = "invitation_not_sent"
    INVITATIONS_REFUSED = "invitations_refused"
    INVITATIONS_ALLOWED = "invitations_allowed"
    REPORT_FILED = "report_filed"
    REPORT_SHOWN = "report_shown"
    REPORT_EXPORTED = "report_exported"
    REPORT_CLOSED = "report_closed"
    DIRECTORY_IMPORTED = "directory_imported"
    DATABASE_RESTORED = "database_restored"
    DATABASE_COPIED = "database_copied"
    DATABASE_UNMOVED = "database_unmoved"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be written.

    Attributes:
        actor: `operator(user)`, `administrator(address)`, `account(address)` or `SERVER`.
        subject: an account's address, a national identifier, a file; empty if there is none.
        detail: numbers and short words. No content of a message, no code, no key.
    """

    actor: str
    action: Action
    subject: str = ""
    detail: Detail = field(default_factory=dict)


def operator(user: str) -> str:
    """The actor of a command that somebody with an account on the machine typed."""
    return f"operator:{user}"


def administrator(address: str) -> str:
    """The actor of what an organisation's administrator does about its people."""
    return f"administrator:{address}"


def account(address: str) -> str:
    """The actor of what somebody does about their own account."""
    return f"account:{address}"


class AuditLog(Protocol):
    """The audit log of a database."""

    async def record(self, deed: Deed, *, now_ms: int) -> Head:
        """Append what was done outside the database, in a transaction of its own."""
        ...

    async def audit_head(self) -> Head:
        """How far the log goes."""
        ...

    async def audit_entries(
        self,
        *,
        after: int | None = None,
        limit: int = 1_000,
        subject: str | None = None,
        since_ms: int | None = None,
    ) -> list[AuditEntry]:
        """Entries by their number, above `after` and not before `since_ms`; of one subject if it is named.

        On SQLite, whose file takes anything, fields of an altered entry may be of another type.
        """
        ...
