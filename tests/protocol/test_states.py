"""The transition tables fit each other: what one end may write, the other expects."""

from collections.abc import Iterable

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol.states import (
    ANYWHERE,
    CLIENT_RECEIVES,
    CLIENT_SENDS,
    SERVER_RECEIVES,
    SERVER_SENDS,
    ClientState,
    ServerState,
)

PAIRS = {
    ServerState.AWAITING_HELLO: {ClientState.AWAITING_CHALLENGE, ClientState.GREETING},
    ServerState.CHECKING: {ClientState.AWAITING_WELCOME},
    ServerState.CATCHING_UP: {ClientState.CATCHING_UP},
    ServerState.LIVE: {ClientState.LIVE},
    ServerState.CLOSED: {ClientState.CLOSED},
}
"""Where the client is while the server is there and nothing is on its way."""


def ops(union: object) -> set[type[f.Frame]]:
    return set(union.__args__)  # type: ignore[attr-defined]  # unions have it at run time


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (SERVER_RECEIVES, ServerState),
        (SERVER_SENDS, ServerState),
        (CLIENT_RECEIVES, ClientState),
        (CLIENT_SENDS, ClientState),
    ],
)
def test_every_state_has_its_line(table: dict[object, object], states: Iterable[object]) -> None:
    assert list(table) == list(states)


@pytest.mark.parametrize(
    ("receives", "sends", "union"),
    [
        (SERVER_RECEIVES, CLIENT_SENDS, f.ClientFrame),
        (CLIENT_RECEIVES, SERVER_SENDS, f.ServerFrame),
    ],
)
def test_every_frame_of_a_direction_has_a_place(
    receives: dict[object, dict[type[f.Frame], object]],
    sends: dict[object, dict[type[f.Frame], object]],
    union: object,
) -> None:
    for table in (receives, sends):
        placed = {frame for line in table.values() for frame in line}
        assert placed | (ANYWHERE & ops(union)) == ops(union)
        assert placed.isdisjoint(ANYWHERE)


@pytest.mark.parametrize("state", list(ServerState))
def test_what_the_server_may_write_the_client_expects(state: ServerState) -> None:
    for frame, following in SERVER_SENDS[state].items():
        accepting = [c for c in PAIRS[state] if frame in CLIENT_RECEIVES[c]]
        assert accepting, frame
        for client in accepting:
            after = CLIENT_RECEIVES[client][frame]
            assert after in PAIRS[following]


@pytest.mark.parametrize("state", list(ClientState))
def test_what_the_client_may_write_the_server_expects(state: ClientState) -> None:
    for frame, following in CLIENT_SENDS[state].items():
        (server,) = (one for one, clients in PAIRS.items() if state in clients)
        assert PAIRS[SERVER_RECEIVES[server][frame]] >= {following}


def test_the_end_is_final() -> None:
    assert not SERVER_RECEIVES[ServerState.CLOSED]
    assert not SERVER_SENDS[ServerState.CLOSED]
    assert not CLIENT_RECEIVES[ClientState.CLOSED]
    assert not CLIENT_SENDS[ClientState.CLOSED]


def test_every_frame_has_an_op_of_its_own() -> None:
    frames = ops(f.ClientFrame) | ops(f.ServerFrame)
    tags = {frame: msgspec.inspect.type_info(frame).tag for frame in frames}  # type: ignore[attr-defined]  # a struct's
    assert len(set(tags.values())) == len(frames)
    assert set(f.Frame.__subclasses__()) == frames
