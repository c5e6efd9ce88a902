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

_CHORES = {
    *(f"call.{side} GET /v1/server" for side in ("before", "after")),
    *("came ping", "write.before pong", "write.after pong"),
}
BESIDE = {"receive": _CHORES, "send": _CHORES | {"came deliver"}}
"""Chores of each connection, the session's answer: they may come too late to be seen."""


def cases() -> list[Any]:
    """Both programs at every point."""
    return [
        pytest.param(program, point, nth, id=f"{program}-{point}-{nth}")
        for program, points in POINTS.items()
        for point, times in points.items()
        for nth in range(1, times + 1)
    ]
