"""Whole conversations of a phone and a server for `sessions.json`, played between the real ends."""

from collections.abc import Callable
from typing import Any

import msgspec

from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import FrameError, client_codec, server_codec
from miss_protocol.digest import EMPTY, envelope_hash, gap_hash, roll
from miss_protocol.errors import CloseCode, Code, Malformed
from miss_protocol.identity.receipts import ReceiptState, sign_receipt
from miss_protocol.server_session import ServerSession
from tests.support import wire_samples as w
from tests.support.wire_text import SUBPROTOCOLS, Json, plain, text_of


class Play:
    """Both ends over a perfect connection; every message that passes is written down."""

    def __init__(
        self,
        subprotocol: f.Subprotocol,
        *,
        position: int = 0,
        digest: bytes = EMPTY,
    ) -> None:
        self.subprotocol = subprotocol
        self.client = ClientSession(client_codec(subprotocol), position=position, digest=digest)
        self.server = ServerSession(server_codec(subprotocol), now=0.0)
        self.steps: list[Json] = []
        self.start = {"position": position, "digest": digest.hex()}

    def by_server(self, *acts: Callable[[ServerSession], None]) -> None:
        """Let the server act; the client reads what it writes."""
        for act in acts:
            act(self.server)
        for message in self.server.data_to_send():
            try:
                events = [type(event).__name__ for event in self.client.receive(message)]
                self._note("server", message, events)
            except Malformed:
                self._note("server", message, None)
                self.client.closed()
        if self.server.close_code is not None:
            self.steps.append({"from": "server", "close": int(self.server.close_code)})

    def by_client(self, *acts: Callable[[ClientSession], None]) -> None:
        """Let the client act; the server reads what it writes."""
        for act in acts:
            act(self.client)
        for message in self.client.data_to_send():
            self.raw_from_client(message)

    def raw_from_client(self, message: bytes) -> None:
        """A message that a sound client would not write."""
        events = [type(event).__name__ for event in self.server.receive(message, 0.0)]
        self._note("client", message, events)

    def raw_from_server(self, *frames: f.Frame) -> None:
        """Frames that a sound server would not write."""
        message = client_codec(self.subprotocol).encode(list(frames))
        try:
            events = [type(event).__name__ for event in self.client.receive(message)]
            self._note("server", message, events)
        except Malformed:
            self._note("server", message, None)
            self.client.closed()

    def _note(self, sender: str, message: bytes, events: list[str] | None) -> None:
        codec: Any = (client_codec if sender == "server" else server_codec)(self.subprotocol)
        frames: list[Json] = []
        for raw in codec.split(message):
            try:
                frames.append(plain(codec.decode_frame(raw)))
            except FrameError as error:
                frames.append({"error": error.code.wire, "about": error.about})
        step: Json = {
            "from": sender,
            "message": text_of(message, self.subprotocol),
            "frames": frames,
        }
        if events is None:
            step["refused"] = {"close": int(CloseCode.PROTOCOL)}
        else:
            step["events"] = events
        step["client"] = {
            "state": self.client.state.name.lower(),
            "position": self.client.position,
            "digest": self.client.digest.hex(),
        }
        step["server"] = {
            "state": self.server.state.name.lower(),
            "delivered": self.server.delivered,
            "acknowledged": self.server.acknowledged,
        }
        self.steps.append(step)

    # --- what most plays begin with ---------------------------------------------------------------

    def greet(self, *, sn: int = 0, epoch: bytes = b"", roster: int = 0) -> None:
        """Challenge and hello."""
        self.by_server(lambda s: s.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT)))
        hello = f.Hello(
            w.PHONE,
            w.login(subprotocol=self.subprotocol),
            w.APP,
            self.client.position,
            self.client.digest,
            sn,
            epoch,
            roster,
        )
        self.by_client(lambda c: c.hello(hello))

    def welcome(self, welcome: f.Welcome, *, resume_after: int) -> Callable[[ServerSession], None]:
        """Let the client in."""
        return lambda s: s.welcome(welcome, resume_after=resume_after, ticks_after=0, window=0)


def _welcome(position: int, acked: int, sn: int) -> f.Welcome:
    return f.Welcome(
        w.ALICE, w.EPOCH, position, acked, sn, w.AT, 50, 1, "2026-1", capabilities=("restore",)
    )


def _to_alice(position: int) -> f.Deliver:
    return f.Deliver(position, w.BRUNO, w.TABLET, w.ANSWER, w.BODY, w.WRAP, w.AT + 5_000)


TO_ALICE_HASH = envelope_hash(w.BRUNO, w.TABLET, w.ANSWER, w.BODY, w.WRAP)


def _size(frame: f.Deliver) -> int:
    return len(frame.body) + len(frame.wrap)


def _deliver(position: int) -> Callable[[ServerSession], None]:
    return lambda s: s.deliver(_to_alice(position), _size(_to_alice(position)), 0.0)


def everyday(subprotocol: f.Subprotocol) -> Play:
    """Login, catch-up with a gap, acknowledgement with a receipt, a send and its status."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(
        play.welcome(_welcome(3, 0, 0), resume_after=0),
        _deliver(1),
        lambda s: s.deliver(
            f.Gap(2, 3, "expired", 2, (gap_hash("quota"), TO_ALICE_HASH)), 320, 0.0
        ),
        lambda s: s.drained(),
    )
    receipt = sign_receipt(
        w.PHONE_KEY,
        message=w.ANSWER,
        sender_device=w.TABLET,
        recipient_device=w.PHONE,
        state=ReceiptState.DELIVERED,
        at_ms=w.AT + 6_000,
    )
    play.by_client(lambda c: c.ack(f.Ack(position=3, receipts=(receipt,), ref=1)))
    play.by_server(lambda s: s.acked(1))
    play.by_client(lambda c: c.send(w.send(1)))
    play.by_server(lambda s: s.answer(f.Sent(1, w.MESSAGE, w.AT + 7_000)))
    status = f.Status(
        1,
        w.MESSAGE,
        1,
        (
            f.DeviceState(w.DESK, "waiting", w.AT + 7_000),
            f.DeviceState(w.TABLET, "delivered", w.AT + 2_000, w.receipt().signature),
        ),
    )
    play.by_server(lambda s: s.status(status))
    play.by_client(lambda c: c.ack(f.Ack(tick=1)), lambda c: c.ping(1))
    play.by_server()
    return play


def lost_reply(subprotocol: f.Subprotocol) -> Play:
    """The connection died before `sent` came: the same bytes again, the same answer."""
    play = Play(subprotocol)
    play.greet(sn=1, epoch=w.EPOCH, roster=1)
    play.by_server(play.welcome(_welcome(0, 0, 1), resume_after=0), lambda s: s.drained())
    play.by_client(lambda c: c.send(w.send(1)))
    play.by_server(lambda s: s.answer(f.Sent(1, w.MESSAGE, w.AT + 1_000)))
    return play


def lost_ack(subprotocol: f.Subprotocol) -> Play:
    """The device stored row 1 but its ack was lost: it goes on after row 1 and acks again."""
    play = Play(subprotocol, position=1, digest=roll(EMPTY, 1, TO_ALICE_HASH))
    play.greet(epoch=w.EPOCH, roster=1)
    play.by_server(
        play.welcome(_welcome(2, 0, 0), resume_after=1), _deliver(2), lambda s: s.drained()
    )
    play.by_client(lambda c: c.ack(f.Ack(position=2)))
    return play


def restored(subprotocol: f.Subprotocol) -> Play:
    """The server came back from a backup: it goes on from row 4 in a new epoch."""
    at_nine, at_four = bytes([9]) * 32, bytes([4]) * 32
    play = Play(subprotocol, position=9, digest=at_nine)
    play.greet(sn=7, epoch=w.EPOCH, roster=1)
    welcome = f.Welcome(
        w.ALICE, w.LATER_EPOCH, 4, 4, 7, w.AT, 0, 1, restored=w.AT - 60_000, digest=at_four
    )
    play.by_server(play.welcome(welcome, resume_after=4), lambda s: s.drained())
    play.by_client(lambda c: c.send(w.send(8)))
    play.by_server(lambda s: s.answer(f.Sent(8, w.MESSAGE, w.AT)), _deliver(5))
    play.by_client(lambda c: c.ack(f.Ack(position=5)))
    return play


def refused_sends(subprotocol: f.Subprotocol) -> Play:
    """A stale roster, an unknown outcome, a plain text: settled, to be repeated, settled."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(play.welcome(_welcome(0, 0, 0), resume_after=0), lambda s: s.drained())
    play.by_client(lambda c: c.send(w.send(1)))
    play.by_server(lambda s: s.answer(f.Refused(1, Code.STALE_ROSTER.wire, (w.BRUNO,))))
    play.by_client(lambda c: c.send(w.send(2)))
    play.by_server(lambda s: s.answer(f.RetrySend(2, Code.NOT_DURABLE.wire, 2.0)))
    play.by_client(lambda c: c.send(w.send(2)))
    play.by_server(
        lambda s: s.answer(
            f.Sent(2, w.MESSAGE, w.AT, (f.DeviceRefused(w.DESK, Code.MAILBOX_FULL.wire),))
        )
    )
    spoken = msgspec.structs.replace(w.send(3), body=b"Bonjour, sans chiffrement")
    play.by_client(lambda c: c.send(spoken))
    play.by_server(lambda s: s.answer(f.Refused(3, Code.NOT_ENCRYPTED.wire)))
    return play


def unopened(subprotocol: f.Subprotocol) -> Play:
    """An envelope that cannot be opened: nack, then ack past it; the stream goes on."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(
        play.welcome(_welcome(2, 0, 0), resume_after=0),
        _deliver(1),
        _deliver(2),
        lambda s: s.drained(),
    )
    play.by_client(lambda c: c.nack(1, "undecryptable"), lambda c: c.ack(f.Ack(position=2, ref=1)))
    play.by_server(lambda s: s.acked(1))
    return play


def bad_client(subprotocol: f.Subprotocol) -> Play:
    """Frames out of place and beyond what was delivered: refused one by one, the session goes on;
    then something that is no array, which ends it."""
    play = Play(subprotocol)
    wrong = client_codec(subprotocol)
    play.by_server(lambda s: s.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT)))
    play.raw_from_client(wrong.encode([w.send(1)]))
    play.by_server()
    hello = msgspec.structs.replace(w.hello(), signature=w.login(subprotocol=subprotocol))
    play.by_client(lambda c: c.hello(hello))
    play.by_server(
        play.welcome(_welcome(1, 0, 0), resume_after=0), _deliver(1), lambda s: s.drained()
    )
    play.raw_from_client(
        wrong.encode(
            [
                hello,
                f.Ack(position=2),
                f.Nack(2, "malformed"),
                f.Ack(position=1),
                f.Ack(position=0),
                f.Nack(1, "malformed"),
                f.Ping(7),
            ]
        )
    )
    play.by_server()
    play.raw_from_client(wrong.encode([]))
    ending = b"{}" if subprotocol == f.JSON else b"\x80"
    play.server.receive(ending, 0.0)
    play.steps.append({"from": "client", "message": text_of(ending, subprotocol), "frames": None})
    play.by_server()
    return play


def _bad_server(subprotocol: f.Subprotocol, *frames: f.Frame) -> Play:
    play = Play(subprotocol)
    play.greet()
    play.by_server(play.welcome(_welcome(3, 0, 0), resume_after=0))
    play.raw_from_server(*frames)
    return play


def skips(subprotocol: f.Subprotocol) -> Play:
    """A server leaves a position out."""
    return _bad_server(subprotocol, _to_alice(1), _to_alice(3))


def repeats(subprotocol: f.Subprotocol) -> Play:
    """A server delivers a position twice on one connection."""
    return _bad_server(subprotocol, _to_alice(1), _to_alice(1))


def hides(subprotocol: f.Subprotocol) -> Play:
    """A server says that it is done before it is."""
    return _bad_server(subprotocol, _to_alice(1), f.Drained(3))


def wide_gap(subprotocol: f.Subprotocol) -> Play:
    """A gap whose hashes do not fit its range."""
    return _bad_server(subprotocol, f.Gap(1, 3, "expired", 3, (TO_ALICE_HASH,)))


def drains(subprotocol: f.Subprotocol) -> Play:
    """The server stops in order."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(play.welcome(_welcome(0, 0, 0), resume_after=0), lambda s: s.drained())
    play.by_server(lambda s: s.bye(Code.BUSY, 2.0), lambda s: s.close(CloseCode.DRAINING))
    return play


def dead_link(subprotocol: f.Subprotocol) -> Play:
    """A row is not acknowledged and a ping not answered: the server gives the link up."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(
        play.welcome(_welcome(1, 0, 0), resume_after=0), _deliver(1), lambda s: s.drained()
    )
    play.by_server(lambda s: s.tick(s.deadline))
    play.by_server(lambda s: s.tick(s.deadline))
    return play


def not_admitted(subprotocol: f.Subprotocol) -> Play:
    """A device that was revoked."""
    play = Play(subprotocol)
    play.greet()
    play.by_server(
        lambda s: s.error(Code.REVOKED, about="hello"), lambda s: s.close(CloseCode.REVOKED)
    )
    return play


PLAYS: tuple[Callable[[f.Subprotocol], Play], ...] = (
    everyday,
    lost_reply,
    lost_ack,
    restored,
    refused_sends,
    unopened,
    bad_client,
    skips,
    repeats,
    hides,
    wide_gap,
    drains,
    dead_link,
    not_admitted,
)


def session_vectors() -> Json:
    """Whole conversations of both ends."""
    return {
        "about": "Each conversation is played by Alice's phone and a server, message by message. "
        "`message` is a WebSocket message (JSON text, or MessagePack in hexadecimal); `frames` are "
        "its frames with bytes in hexadecimal, `error` where a frame is refused alone; `events` "
        "are what the receiving end tells its caller; `refused` is how it must end the connection. "
        "`client` and `server` are the two ends afterwards.",
        "challenge": {"nonce": w.NONCE.hex(), "domain": w.DOMAIN},
        "device": {"id": w.PHONE.hex(), "signing_seed": bytes(w.PHONE_KEY).hex()},
        "conversations": [
            {
                "name": play.__name__.replace("_", " "),
                "about": " ".join((play.__doc__ or "").split()),
                "subprotocol": subprotocol,
                "start": played.start,
                "steps": played.steps,
            }
            for play in PLAYS
            for subprotocol in SUBPROTOCOLS
            for played in [play(subprotocol)]
        ],
    }
