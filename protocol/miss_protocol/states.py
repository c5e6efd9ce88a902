"""The two state machines of a connection, as tables. Spec: 03-session §1.

Rule 1: every transition stands here; the session classes look up, they do not decide.
Rule 2: a frame that a state does not list is out of place there. The server answers it with
`error out_of_place` and goes on (a hello twice, a send before hello); the client ends the
connection, because a server that is out of step cannot be trusted to count.
Rule 3: `CLOSED` is final. What arrives after it is dropped unread.
Rule 4: ping and pong are allowed in every state but CLOSED and change none.

    server   AWAITING_HELLO -hello-> CHECKING -welcome-> CATCHING_UP -drained-> LIVE
    client   AWAITING_CHALLENGE -challenge-> GREETING -hello sent-> AWAITING_WELCOME
             -welcome-> CATCHING_UP -drained-> LIVE
"""

from enum import IntEnum, auto

from miss_protocol import frames as f


class ServerState(IntEnum):
    """Where the server's end of a connection is."""

    AWAITING_HELLO = auto()
    CHECKING = auto()
    """hello came; its signature and the device's count are being checked."""
    CATCHING_UP = auto()
    LIVE = auto()
    CLOSED = auto()


class ClientState(IntEnum):
    """Where the client's end of a connection is."""

    AWAITING_CHALLENGE = auto()
    GREETING = auto()
    """The challenge came; the client owes a hello."""
    AWAITING_WELCOME = auto()
    CATCHING_UP = auto()
    LIVE = auto()
    CLOSED = auto()


_S, _C = ServerState, ClientState

SERVER_RECEIVES: dict[ServerState, dict[type[f.Frame], ServerState]] = {
    _S.AWAITING_HELLO: {f.Hello: _S.CHECKING},
    _S.CHECKING: {},
    _S.CATCHING_UP: {f.Send: _S.CATCHING_UP, f.Ack: _S.CATCHING_UP, f.Nack: _S.CATCHING_UP},
    _S.LIVE: {f.Send: _S.LIVE, f.Ack: _S.LIVE, f.Nack: _S.LIVE},
    _S.CLOSED: {},
}
SERVER_SENDS: dict[ServerState, dict[type[f.Frame], ServerState]] = {
    _S.AWAITING_HELLO: {f.Challenge: _S.AWAITING_HELLO},
    _S.CHECKING: {f.Welcome: _S.CATCHING_UP},
    _S.CATCHING_UP: {
        f.Deliver: _S.CATCHING_UP,
        f.Gap: _S.CATCHING_UP,
        f.Status: _S.CATCHING_UP,
        f.Drained: _S.LIVE,
        f.Sent: _S.CATCHING_UP,
        f.Refused: _S.CATCHING_UP,
        f.RetrySend: _S.CATCHING_UP,
        f.Acked: _S.CATCHING_UP,
    },
    _S.LIVE: {
        f.Deliver: _S.LIVE,
        f.Gap: _S.LIVE,
        f.Status: _S.LIVE,
        f.Sent: _S.LIVE,
        f.Refused: _S.LIVE,
        f.RetrySend: _S.LIVE,
        f.Acked: _S.LIVE,
    },
    _S.CLOSED: {},
}
ANYWHERE: frozenset[type[f.Frame]] = frozenset({f.Ping, f.Pong, f.Error, f.Bye})
"""Frames of either direction that every open state allows and that change no state."""

CLIENT_RECEIVES: dict[ClientState, dict[type[f.Frame], ClientState]] = {
    _C.AWAITING_CHALLENGE: {f.Challenge: _C.GREETING},
    _C.GREETING: {},
    _C.AWAITING_WELCOME: {f.Welcome: _C.CATCHING_UP},
    _C.CATCHING_UP: {
        frame: (_C.LIVE if frame is f.Drained else _C.CATCHING_UP)
        for frame in SERVER_SENDS[_S.CATCHING_UP]
    },
    _C.LIVE: dict.fromkeys(SERVER_SENDS[_S.LIVE], _C.LIVE),
    _C.CLOSED: {},
}
CLIENT_SENDS: dict[ClientState, dict[type[f.Frame], ClientState]] = {
    _C.AWAITING_CHALLENGE: {},
    _C.GREETING: {f.Hello: _C.AWAITING_WELCOME},
    _C.AWAITING_WELCOME: {},
    _C.CATCHING_UP: dict.fromkeys(SERVER_RECEIVES[_S.CATCHING_UP], _C.CATCHING_UP),
    _C.LIVE: dict.fromkeys(SERVER_RECEIVES[_S.LIVE], _C.LIVE),
    _C.CLOSED: {},
}
