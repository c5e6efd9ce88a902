"""Server sessions in each of their states, for tests of what they do next."""

import msgspec

from miss_protocol import frames as f
from miss_protocol.codec import client_codec, server_codec
from miss_protocol.server_session import HelloCame, ServerSession
from tests.support import wire_samples as w

CODEC = client_codec(f.MSGPACK)
ROW_SIZE = 1_000
WELCOME = f.Welcome(w.ALICE, w.EPOCH, 3, 0, 0, w.AT, 50, 1)


def message(*frames: f.Frame) -> bytes:
    return CODEC.encode(list(frames))


def written(session: ServerSession) -> list[f.ServerFrame]:
    """What the client would read now."""
    return [CODEC.decode_frame(raw) for data in session.data_to_send() for raw in CODEC.split(data)]


def told(session: ServerSession) -> list[tuple[str, str]]:
    """The errors among what is written, as (code, about)."""
    return [(e.code, e.about) for e in written(session) if isinstance(e, f.Error)]


def opened() -> ServerSession:
    """A connection whose challenge was written."""
    session = ServerSession(server_codec(f.MSGPACK), now=0.0)
    session.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT))
    assert [type(frame) for frame in written(session)] == [f.Challenge]
    return session


def greeted() -> ServerSession:
    session = opened()
    assert session.receive(message(w.hello()), 0.0) == [HelloCame(w.hello())]
    return session


def welcomed(
    *, resume_after: int = 0, acked: int = 0, ticks_after: int = 0, window: int = 0
) -> ServerSession:
    """A logged-in connection that is catching up."""
    session = greeted()
    session.welcome(
        msgspec.structs.replace(WELCOME, acked=acked),
        resume_after=resume_after,
        ticks_after=ticks_after,
        window=window,
    )
    written(session)
    return session


def live(rows: int = 0, *, now: float = 0.0) -> ServerSession:
    """A caught-up connection to which `rows` rows were written."""
    session = welcomed()
    for position in range(1, rows + 1):
        session.deliver(w.deliver(position), ROW_SIZE, now)
    session.drained()
    written(session)
    return session
