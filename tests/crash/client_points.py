"""The table of the reference client's points; `points` is the server's and says how to read it."""

from typing import Any

import pytest

from tests.crash.points import expanded

_ROWS: dict[str, tuple[str, ...]] = {
    "receive": (
        "came challenge",
        "write hello",
        "came welcome",
        "write ack x2",
        "came deliver x2",
        "came drained",
        "call GET /v1/accounts/{address}/rosters",
        "save x6",
        "came acked",
        "write send",
        "came sent",
    ),
    "send": (
        "save x6",
        "call GET /v1/accounts/{address}/rosters",
        "call POST /v1/prekeys/claim",
        "came challenge",
        "write hello",
        "came welcome",
        "came drained",
        "write send",
        "came sent",
        "came status",
        "write ack",
    ),
}
POINTS = {name: expanded(row) for name, row in _ROWS.items()}

BESIDE = {
    "receive": {"call.before GET /v1/server", "call.after GET /v1/server"},
    "send": {"call.before GET /v1/server", "call.after GET /v1/server", "came deliver"},
}
"""A chore of each connection, the session's answer: they may come too late to be seen."""


def cases() -> list[Any]:
    """Both programs at every point."""
    return [
        pytest.param(program, point, nth, id=f"{program}-{point}-{nth}")
        for program, points in POINTS.items()
        for point, times in points.items()
        for nth in range(1, times + 1)
    ]
