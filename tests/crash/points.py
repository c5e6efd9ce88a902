"""The table: which points each play passes, and how often at least."""

from typing import Any

import pytest

from tests.crash import plays_accounts as accounts
from tests.crash import plays_calls as calls
from tests.crash import plays_limits as limits
from tests.crash import plays_messages as messages
from tests.crash.stage import Play

PLAYS: dict[str, type[Play]] = {
    "start": messages.Start,
    "login": messages.Login,
    "live": messages.Live,
    "waiting": messages.Waiting,
    "crowd": messages.Crowd,
    "refused": messages.Refused,
    "nack": messages.Nack,
    "read": messages.Read,
    "expiry": messages.Expiry,
    "quota": limits.Quota,
    "drain": limits.Drain,
    "http-send": calls.HttpSend,
    "http-fetch": calls.HttpFetch,
    "prekey-upload": calls.PrekeyUpload,
    "prekey-claim": calls.PrekeyClaim,
    "restore": calls.Restore,
    "charter": calls.Charter,
    "enrolment": accounts.Enrolment,
    "approval": accounts.Approval,
    "revocation": accounts.Revocation,
    "enrol-code": accounts.EnrolCode,
    "import": accounts.Import,
}

LOGIN = frozenset(
    {
        "taken hello",
        *(
            f"commit.{side} {name}"
            for side in ("before", "after")
            for name in ("begin_session", "end_session")
        ),
        *(
            f"reply.{side} {name}"
            for side in ("before", "after")
            for name in ("challenge", "welcome", "drained")
        ),
    }
)
"""What every connection passes: cut in the play of that name only."""
BY_THE_CLOCK = (
    " expire",
    " clean",
    " note_seen",
    " other",
    " bye",
    " ping",
    " pong",
    "witness.before",
    "witness.after",
)
"""What a server does by its clock, or as it starts and ends: it may be in any play's trace."""

_ROWS: dict[str, tuple[str, ...]] = {
    "start": (
        "commit other x2",
        "witness",
        "commit expire",
        "taken GET /v1/server",
        "reply GET /v1/server",
    ),
    "login": (
        "reply challenge",
        "taken hello",
        "commit begin_session",
        "reply welcome",
        "delivery status",
        "reply drained",
        "taken ack",
        "commit acknowledge",
        "commit end_session",
    ),
    "live": (
        "taken send",
        "commit submit",
        "ring",
        "reply sent",
        "delivery deliver",
        "taken ack x2",
        "commit acknowledge x2",
        "reply acked",
        "delivery status",
    ),
    "waiting": (
        "delivery deliver x2",
        "taken ack x2",
        "commit acknowledge x2",
        "ring x2",
        "reply acked x2",
    ),
    "crowd": (
        "taken send",
        "commit submit x4",
        "ring x2",
        "reply sent x2",
        "delivery deliver x2",
        "taken ack",
        "commit acknowledge x2",
        "reply acked",
        "delivery status",
    ),
    "refused": (
        "taken send x2",
        "commit submit x2",
        "ring",
        "reply refused",
        "reply sent",
    ),
    "nack": (
        "delivery deliver",
        "taken nack",
        "taken ack x2",
        "commit acknowledge x2",
        "ring",
        "reply acked",
        "delivery status",
    ),
    "read": (
        "taken ack x2",
        "commit acknowledge x2",
        "ring",
        "reply acked",
        "delivery status",
    ),
    "expiry": (
        "commit expire",
        "ring",
        "delivery gap",
        "taken ack x2",
        "commit acknowledge x2",
        "reply acked",
        "delivery status",
    ),
    "quota": (
        "taken send x2",
        "commit submit x2",
        "ring",
        "reply sent x2",
        "delivery deliver",
        "delivery gap",
        "delivery status",
        "taken ack x2",
        "commit acknowledge x2",
        "reply acked x2",
    ),
    "drain": (
        "reply bye x2",
        "commit end_session x2",
    ),
    "http-send": (
        "taken POST /v1/messages",
        "commit use_nonce",
        "commit submit",
        "ring",
        "reply POST /v1/messages",
    ),
    "http-fetch": (
        "taken POST /v1/mailbox x2",
        "commit use_nonce x2",
        "commit acknowledge x2",
        "reply POST /v1/mailbox x2",
        "ring",
    ),
    "prekey-upload": (
        "taken POST /v1/prekeys",
        "commit use_nonce",
        "commit add_prekeys",
        "reply POST /v1/prekeys",
    ),
    "prekey-claim": (
        "taken POST /v1/prekeys/claim",
        "commit use_nonce",
        "commit claim_prekeys",
        "witness x2",
        "reply POST /v1/prekeys/claim",
    ),
    "restore": (
        "commit other x2",
        "witness",
        "commit begin_session",
        "reply welcome",
        "taken POST /v1/prekeys",
        "commit use_nonce",
        "commit add_prekeys",
        "reply POST /v1/prekeys",
    ),
    "charter": (
        "taken GET /v1/server",
        "reply GET /v1/server",
        "taken POST /v1/charter",
        "commit use_nonce",
        "commit sign_charter",
        "reply POST /v1/charter",
    ),
    "enrolment": (
        "taken POST /v1/enrolment/preview",
        "reply POST /v1/enrolment/preview",
        "taken POST /v1/enrolment",
        "commit enrol",
        "reply POST /v1/enrolment",
    ),
    "approval": (
        "taken POST /v1/links/invitations",
        "commit use_nonce x3",
        "commit invite",
        "reply POST /v1/links/invitations",
        "taken POST /v1/links",
        "commit ask_link",
        "reply POST /v1/links",
        "taken GET /v1/links",
        "reply GET /v1/links",
        "taken POST /v1/rosters",
        "commit change_roster",
        "reply POST /v1/rosters",
    ),
    "revocation": (
        "taken POST /v1/rosters",
        "commit use_nonce",
        "commit change_roster",
        "ring",
        "reply POST /v1/rosters",
        "delivery status",
        "taken ack",
        "commit acknowledge",
    ),
    "enrol-code": (
        "commit create",
        "commit add_code",
    ),
    "import": (
        "commit amend",
        "commit publish",
    ),
}
"""`commit submit` stands for `commit.before submit` and `commit.after submit`; all but `taken` have
two sides. `x2`: at least twice, and cut at each."""


def expanded(row: tuple[str, ...]) -> dict[str, int]:
    """Each point of a row, and how often."""
    points: dict[str, int] = {}
    for item in row:
        what, _, times = item.partition(" x")
        kind, _, name = what.partition(" ")
        for side in ("",) if kind in ("taken", "came") else (".before", ".after"):
            points[f"{kind}{side} {name}".strip()] = int(times or 1)
    return points


POINTS = {name: expanded(row) for name, row in _ROWS.items()}
"""For each play, its points and how often it passes them at least."""


def is_aside(name: str, point: str) -> bool:
    """Whether a play may pass a point that its row does not have."""
    if name == "drain" and point in POINTS["live"]:
        return True  # the talk that the end interrupts; it is cut in a play of its own
    return point.endswith(BY_THE_CLOCK) or (point in LOGIN and name != "login")


def cases() -> list[Any]:
    """Every play at every point."""
    return [
        pytest.param(name, point, nth, id=f"{name}-{point}-{nth}")
        for name, points in POINTS.items()
        for point, times in points.items()
        for nth in range(1, times + 1)
    ]
