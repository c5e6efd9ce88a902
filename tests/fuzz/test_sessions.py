"""Both state machines in any order of frames and calls, alone and against each other.

Alone: whatever the peer writes, an end answers, closes, or raises what it documents. Together: two
ends that follow their rules never disagree, however their messages are delayed and their connection
is cut; every row arrives once and in order, every send is settled once, the digests are the same.
"""

from collections import deque
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miss_protocol import client_session as c
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol import server_session as s
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import client_codec, server_codec
from miss_protocol.digest import EMPTY, envelope_hash, gap_hash, roll
from miss_protocol.errors import CloseCode, LocalError, Malformed
from miss_protocol.server_session import ServerSession
from miss_protocol.states import ClientState, ServerState
from tests.support import wire_samples as w
from tests.support.fuzzing import effort

counts = st.integers(0, 6)
client_frames = st.one_of(
    st.sampled_from([sample.frame for sample in w.SAMPLES if sample.sender == "client"]),
    st.builds(f.Ack, counts | st.just(msgspec.UNSET), counts | st.just(msgspec.UNSET)),
    st.builds(f.Nack, counts, st.just("malformed")),
    st.builds(w.send, st.integers(1, 6)),
)
server_frames = st.one_of(
    st.sampled_from([sample.frame for sample in w.SAMPLES if sample.sender == "server"]),
    st.builds(w.deliver, counts),
    st.builds(f.Gap, counts, counts, st.just("expired"), counts, st.just((w.ROW_HASH,))),
    st.builds(f.Drained, counts),
    st.builds(f.Sent, counts, st.just(w.MESSAGE), st.just(w.AT)),
)


def call(act: Any) -> None:
    """Use an end in any order: it does so or says that this side is wrong."""
    try:
        act()
    except LocalError:
        return


def server_calls(session: ServerSession) -> list[Any]:
    welcome = f.Welcome(w.ALICE, w.EPOCH, 3, 1, 0, w.AT, 50, 1)
    return [
        lambda: session.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT)),
        lambda: session.welcome(welcome, resume_after=1, ticks_after=0, window=0),
        lambda: session.deliver(w.deliver(session.delivered + 1), 5_000, 1.0),
        lambda: session.deliver(w.deliver(2), 10, 1.0),
        session.drained,
        lambda: session.status(f.Status(session.ticked + 1, w.MESSAGE, 1, ())),
        lambda: session.answer(f.Sent(1, w.MESSAGE, w.AT)),
        lambda: session.acked(1),
        lambda: session.close(CloseCode.REPLACED),
        session.data_to_send,
    ]


@effort(100)
@given(
    st.lists(
        st.lists(client_frames, max_size=4)
        | st.integers(0, 9)
        | st.floats(0, 1e6, allow_nan=False),
        max_size=25,
    )
)
def test_a_server_end_takes_any_order(steps: list[Any]) -> None:
    session = ServerSession(server_codec(f.MSGPACK), now=0.0)
    now, written = 0.0, []
    for step in steps:
        before = session.acknowledged
        if isinstance(step, list):
            for event in session.receive(client_codec().encode(step), now):
                if isinstance(event, s.AckCame) and event.ack.position is not msgspec.UNSET:
                    assert before <= event.ack.position <= session.delivered
                if isinstance(event, s.NackCame):
                    assert event.nack.position <= session.delivered
        elif isinstance(step, int):
            call(server_calls(session)[step])
        else:
            now += step
            session.tick(now)
        written += session.data_to_send()
        assert session.window >= limits.WINDOW_MIN
        assert (session.close_code is None) is (session.state is not ServerState.CLOSED)
    codec = client_codec()
    for message in written:
        for raw in codec.split(message):
            codec.decode_frame(raw)


@effort(100)
@given(st.lists(st.lists(server_frames, max_size=4) | st.integers(0, 7), max_size=25))
def test_a_client_end_takes_any_order(steps: list[Any]) -> None:
    session = ClientSession(client_codec(), position=0, digest=EMPTY)
    for step in steps:
        if isinstance(step, list):
            try:
                events = session.receive(server_codec(f.MSGPACK).encode(step))
            except Malformed:
                session.closed()
                assert session.receive(b"") == []
                return
            rows = [e for e in events if isinstance(e, c.Delivered | c.GapSeen)]
            ends = [e.gap.last if isinstance(e, c.GapSeen) else e.deliver.position for e in rows]
            assert all(one < other for one, other in pairwise(ends))
        else:
            greeting = msgspec.structs.replace(
                w.hello(), acked=session.position, digest=session.digest
            )
            calls: list[Any] = [
                lambda g=greeting: session.hello(g),
                lambda: session.send(w.send(len(session.in_flight) + 1)),
                lambda: session.ack(f.Ack(position=session.position)),
                lambda: session.ack(f.Ack(position=session.position + 1)),
                lambda: session.nack(1, "untrusted"),
                lambda: session.ping(1),
                session.data_to_send,
                session.closed,
            ]
            call(calls[step])
    codec = server_codec(f.MSGPACK)
    for message in session.data_to_send():
        for raw in codec.split(message):
            codec.decode_frame(raw)


class Conversation(RuleBasedStateMachine):
    """A device and a server over a connection that delays and dies.

    The server's database is two lists here: the rows of one mailbox and the answers to sends. The
    device's store is a list of rows and a list of answers. What lives in neither is lost with each
    connection, as it is in life.
    """

    @initialize(subprotocol=st.sampled_from([f.MSGPACK, f.JSON]))
    def begin(self, subprotocol: f.Subprotocol) -> None:
        self.subprotocol = subprotocol
        # the database
        self.rows: list[f.Deliver | f.Gap] = []
        self.digests = [EMPTY]
        self.acked = 0
        self.settled: dict[int, f.Sent] = {}
        # the device's store
        self.stored: list[f.Deliver | f.Gap] = []
        self.stored_digest = EMPTY
        self.sn = 0
        self.answers: dict[int, f.Sent] = {}
        self.now = 0.0
        self._connect()

    def _connect(self) -> None:
        position = self.stored_position
        self.server = ServerSession(server_codec(self.subprotocol), now=self.now)
        self.client = ClientSession(
            client_codec(self.subprotocol), position=position, digest=self.stored_digest
        )
        self.to_server: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()
        self.server.challenge(f.Challenge(w.NONCE, w.DOMAIN, w.AT))
        self._write()

    @property
    def stored_position(self) -> int:
        if not self.stored:
            return 0
        last = self.stored[-1]
        return last.last if isinstance(last, f.Gap) else last.position

    @property
    def head(self) -> int:
        return len(self.digests) - 1

    def _write(self) -> None:
        self.to_client.extend(self.server.data_to_send())
        self.to_server.extend(self.client.data_to_send())

    # --- what people do ---------------------------------------------------------------------------

    @rule(size=st.integers(0, 12_000))
    def somebody_writes_to_us(self, size: int) -> None:
        position = self.head + 1
        row = msgspec.structs.replace(w.deliver(position), body=bytes(size))
        row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        self.rows.append(row)
        self.digests.append(roll(self.digests[-1], position, row_hash))

    @rule()
    def a_message_finds_the_mailbox_full(self) -> None:
        position = self.head + 1
        self.rows.append(f.Gap(position, position, "quota", 1, (gap_hash("quota"),)))
        self.digests.append(roll(self.digests[-1], position, gap_hash("quota")))

    @rule()
    def we_write(self) -> None:
        if self.client.may_send:
            self.sn += 1
            self.client.send(w.send(self.sn))
            self._write()

    # --- what the network does --------------------------------------------------------------------

    @rule()
    def the_connection_is_cut(self) -> None:
        self.client.closed()
        self.server.close(CloseCode.TRY_LATER)
        self._connect()

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.server.tick(self.now)
        if self.server.close_code is not None:
            self.the_connection_is_cut()
        else:
            self._write()

    @precondition(lambda self: self.to_server)
    @rule()
    def the_server_reads(self) -> None:
        for event in self.server.receive(self.to_server.popleft(), self.now):
            match event:
                case s.HelloCame(hello):
                    self._let_in(hello)
                case s.SendCame(send):
                    if send.sn == len(self.settled) + 1:
                        self.settled[send.sn] = f.Sent(send.sn, send.id, w.AT + send.sn)
                    if send.sn in self.settled:
                        self.server.answer(self.settled[send.sn])
                    else:
                        self.server.answer(f.RetrySend(send.sn, "out_of_order", 0.2))
                case s.AckCame(ack):
                    assert isinstance(ack.position, int)
                    assert ack.position >= self.acked
                    self.acked = ack.position
                    if isinstance(ack.ref, int):
                        self.server.acked(ack.ref)
                case s.NackCame():
                    raise AssertionError("this device opens everything")
        assert self.server.close_code is None
        self._write()

    def _let_in(self, hello: f.Hello) -> None:
        assert hello.digest == self.digests[hello.acked]
        assert hello.sn >= len(self.settled)
        self.server.welcome(
            f.Welcome(w.ALICE, w.EPOCH, self.head, self.acked, len(self.settled), w.AT, 50, 1),
            resume_after=hello.acked,
            ticks_after=0,
            window=0,
        )

    @rule()
    def the_server_delivers(self) -> None:
        """As the relay does: rows in order while there is room, then `drained` once."""
        while self.server.room > 0 and self.server.delivered < self.head:
            row = self.rows[self.server.delivered]
            self.server.deliver(row, len(row.body) if isinstance(row, f.Deliver) else 0, self.now)
        if self.server.state is ServerState.CATCHING_UP and self.server.delivered == self.head:
            self.server.drained()
        self._write()

    @precondition(lambda self: self.to_client)
    @rule(saves=st.booleans())
    def the_device_reads(self, saves: bool) -> None:
        """`saves` is false when the process dies between reading and saving."""
        events = self.client.receive(self.to_client.popleft())
        if not saves:
            self.the_connection_is_cut()
            return
        for event in events:
            match event:
                case c.Challenged():
                    self.client.hello(
                        msgspec.structs.replace(
                            w.hello(),
                            acked=self.client.position,
                            digest=self.client.digest,
                            sn=self.sn,
                        )
                    )
                case c.Welcomed(welcome):
                    assert welcome.sn <= self.sn
                    for sn in range(1, self.sn + 1):
                        if sn not in self.answers and self.client.may_send:
                            self.client.send(w.send(sn))
                case c.Delivered(deliver, digest):
                    self._store(deliver, digest)
                case c.GapSeen(gap, digest):
                    self._store(gap, digest)
                case c.CaughtUp(position):
                    assert position == self.stored_position
                case c.Settled(reply):
                    assert isinstance(reply, f.Sent)
                    assert self.answers.setdefault(reply.sn, reply) == reply
                case c.RetryWanted(reply):
                    if self.client.may_send:
                        self.client.send(w.send(reply.sn))
                case c.AckStored():
                    pass
                case _:
                    raise AssertionError(event)
        self._write()

    def _store(self, row: f.Deliver | f.Gap, digest: bytes) -> None:
        self.stored.append(row)
        self.stored_digest = digest
        self.client.ack(f.Ack(position=self.stored_position, ref=self.stored_position))

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def every_row_comes_once_and_in_order(self) -> None:
        assert self.stored == self.rows[: len(self.stored)]
        assert self.stored_digest == self.digests[self.stored_position]

    @invariant()
    def nothing_is_acknowledged_that_is_not_stored(self) -> None:
        if self.server.state in (ServerState.CATCHING_UP, ServerState.LIVE):
            assert self.acked <= self.server.delivered
        assert self.acked <= self.stored_position <= self.head

    @invariant()
    def answers_are_the_databases(self) -> None:
        for sn, answer in self.answers.items():
            assert self.settled[sn] == answer

    def teardown(self) -> None:
        """Once the network is kind, everything arrives and everything is settled."""
        if not hasattr(self, "rows"):
            return
        self.the_connection_is_cut()
        while True:
            if self.to_server:
                self.the_server_reads()
            elif self.to_client:
                self.the_device_reads(saves=True)
            else:
                before = self.server.delivered
                self.the_server_delivers()
                if before == self.server.delivered and not self.to_client:
                    break
        assert self.stored == self.rows
        assert self.acked == self.head
        assert (self.server.state, self.client.state) == (ServerState.LIVE, ClientState.LIVE)
        waiting = self.sn - len(self.answers)
        assert waiting <= max(0, self.sn - limits.SENDS_IN_FLIGHT_MAX)


TestConversation = Conversation.TestCase
TestConversation.settings = effort(60, steps=50)
