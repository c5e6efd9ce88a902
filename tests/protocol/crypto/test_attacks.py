"""What an adversary tries, each against real devices, each failing closed.

The adversary is the server, a network, a thief of old state, or a correspondent who does not
keep to the protocol; the last one is given a device's insides.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import vodozemac as vz
from hypothesis import given, settings
from hypothesis import strategies as st

from miss_protocol.crypto import body as bodies
from miss_protocol.crypto import content as contents
from miss_protocol.crypto import envelope, hybrid, inner, secretbox
from miss_protocol.crypto import session as sessions
from miss_protocol.crypto.chain import Chain, derive
from miss_protocol.crypto.content import Text
from miss_protocol.crypto.endpoint import Endpoint, Order, Outgoing, Sealed
from miss_protocol.crypto.inner import InnerMessage
from miss_protocol.crypto.session import Session
from miss_protocol.crypto.wrapped import Wrapped
from miss_protocol.errors import Undecryptable, Untrusted
from miss_protocol.identity import prekeys
from miss_protocol.ids import MessageId
from miss_protocol.limits import BODY_MAX, CHAIN_GAP_MAX, RECEIVE_SESSIONS_MAX
from tests.support.devices import NOW, Disk, Person, connect, device_of, read, said, write


class Scene:
    """Alice's and Bruno's phones in a session that was answered, and a third person."""

    def __init__(self) -> None:
        self.alice, self.bruno, self.mallory = Person(), Person(), Person()
        self.a, self.b, self.m = self.alice.device, self.bruno.device, self.mallory.device
        self.people = [self.alice, self.bruno]
        connect(self.a, self.b)
        read(self.b, self.a, write(self.a, [self.b], self.people))
        read(self.a, self.b, write(self.b, [self.a], self.people))
        for device in (self.a, self.b, self.m):
            device.take_changes()

    def from_alice(self, text: str = "bonjour") -> Sealed:
        return write(self.a, [self.b], self.people, text)

    def wrap(self, sealed: Sealed) -> bytes:
        return sealed.wraps[device_of(self.b)]

    def refused(self, body: bytes, wrap: bytes, sender: Endpoint | None = None) -> None:
        """Bruno refuses, by the one error, and nothing of his changes."""
        with pytest.raises(Undecryptable) as failed:
            self.b.open((sender or self.a).certificate, body, wrap, now_ms=NOW)
        assert str(failed.value) == str(Undecryptable())
        assert failed.value.__cause__ is None
        assert self.b.take_changes() == {}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def session_of(device: Endpoint, peer: Endpoint) -> Session:
    known = device._peers.find(peer.certificate)
    assert known is not None
    active = known.sending(NOW)
    assert active is not None
    return active


def seal_wrap(device: Endpoint, peer: Endpoint, plain: bytes) -> bytes:
    """A correspondent's wrap with any contents."""
    return session_of(device, peer).encrypt(plain, b"n" * 24)


def seal_message(
    device: Endpoint, peer: Endpoint, message: InnerMessage, *, wrapped_id: bytes | None = None
) -> tuple[bytes, bytes]:
    """A correspondent's body and wrap around any inner message."""
    named = MessageId(wrapped_id or message.id)
    body = bodies.seal(message.encode(), named, content_key=b"k" * 32)
    plain = Wrapped(b"k" * 32, bodies.body_hash(body), named, 9, bytes(32))
    return body, seal_wrap(device, peer, plain.encode())


# --- replay and reflection ------------------------------------------------------------------------


def test_reflection(scene: Scene) -> None:
    sealed = scene.from_alice()
    with pytest.raises(Undecryptable):
        scene.a.open(scene.a.certificate, sealed.body, scene.wrap(sealed), now_ms=NOW)
    with pytest.raises(Undecryptable):
        scene.a.open(scene.b.certificate, sealed.body, scene.wrap(sealed), now_ms=NOW)


def test_reflection_of_a_first_flight() -> None:
    a, b = Person(), Person()
    connect(a.device, b.device)
    sealed = write(a.device, [b.device], [b])
    wrap = sealed.wraps[device_of(b.device)]
    for claimed in (a.device, b.device):
        with pytest.raises(Undecryptable):
            a.device.open(claimed.certificate, sealed.body, wrap, now_ms=NOW)


def test_a_frame_opens_once(scene: Scene) -> None:
    sealed = scene.from_alice()
    read(scene.b, scene.a, sealed)
    scene.b.take_changes()
    scene.refused(sealed.body, scene.wrap(sealed))


def test_a_handshake_opens_once_even_after_its_session_is_gone() -> None:
    a, b = Person(), Person()
    connect(a.device, b.device)
    sealed = write(a.device, [b.device], [b])
    read(b.device, a.device, sealed)
    with pytest.raises(Undecryptable):
        read(b.device, a.device, sealed)
    b.device.forget_device(device_of(a.device))
    with pytest.raises(Undecryptable):
        read(b.device, a.device, sealed)


def test_a_last_resort_handshake_opens_once_after_restart_and_loss_of_the_session() -> None:
    """vodozemac itself accepts it again: the one-time key that would prevent it does not exist."""
    a, b, disk = Person(), Person(), Disk()
    prekey = b.device.new_last_resort(now_ms=NOW)
    a.device.start_session(b.device.certificate, prekey, now_ms=NOW)
    sealed = write(a.device, [b.device], [b])
    read(b.device, a.device, sealed)
    b.device.new_last_resort(now_ms=NOW)
    b.device.forget_device(device_of(a.device))
    disk.save(b.device)
    again = disk.load()
    with pytest.raises(Undecryptable):
        read(again, a.device, sealed)


def test_a_session_pushed_out_by_others_cannot_be_replayed() -> None:
    a, b = Person(), Person()
    prekey = b.device.new_last_resort(now_ms=NOW)
    flights = []
    for _ in range(RECEIVE_SESSIONS_MAX + 1):
        a.device.start_session(b.device.certificate, prekey, now_ms=NOW)
        flights.append(write(a.device, [b.device], [b]))
        read(b.device, a.device, flights[-1])
    with pytest.raises(Undecryptable):
        read(b.device, a.device, flights[0])


# --- identities -----------------------------------------------------------------------------------


def test_unknown_key_share_the_server_relabels_the_sender(scene: Scene) -> None:
    sealed = scene.from_alice()
    scene.refused(sealed.body, scene.wrap(sealed), scene.m)
    other = scene.alice.add_device()
    scene.refused(sealed.body, scene.wrap(sealed), other)
    assert said(read(scene.b, scene.a, sealed)) == "bonjour"


def test_unknown_key_share_in_a_handshake(scene: Scene) -> None:
    connect(scene.m, scene.b)
    scene.b.take_changes()
    sealed = write(scene.m, [scene.b], [scene.bruno])
    scene.refused(sealed.body, scene.wrap(sealed), scene.a)
    opened = read(scene.b, scene.m, sealed)
    assert opened.message.sender == scene.m.certificate.id


def test_unknown_key_share_the_server_hands_out_anothers_prekey(scene: Scene) -> None:
    (prekey,) = scene.m.new_prekeys(1, now_ms=NOW)
    with pytest.raises(Untrusted):
        scene.a.start_session(scene.b.certificate, prekey, now_ms=NOW)
    relabelled = replace(prekey, device=device_of(scene.b))
    with pytest.raises(Untrusted):
        scene.a.start_session(scene.b.certificate, relabelled, now_ms=NOW)


def test_a_frame_for_one_device_is_not_for_another(scene: Scene) -> None:
    tablet = scene.bruno.add_device()
    sealed = scene.from_alice()
    with pytest.raises(Undecryptable):
        tablet.open(scene.a.certificate, sealed.body, scene.wrap(sealed), now_ms=NOW)


def test_key_compromise_impersonation() -> None:
    """Whoever took all of Bruno's state can still not write to him as Alice.

    The state holds the symmetric keys of Alice's direction, so both layers can be forged; here
    Alice's own session stands in for that forgery. Her signing key it does not hold.
    """
    alice, bruno, stolen = Person(), Person(), Disk()
    connect(alice.device, bruno.device)
    read(bruno.device, alice.device, write(alice.device, [bruno.device], [bruno]))
    stolen.save(bruno.device)
    thief = stolen.load()
    held = session_of(thief, alice.device).receiving
    assert held == session_of(alice.device, bruno.device).sending
    forged = inner.compose(
        thief.signing_key,
        alice.device.certificate,
        message=MessageId(b"f" * 16),
        conversation=b"c" * 16,
        sent_ms=NOW,
        recipients=[bruno.recipient],
        content=contents.encode(Text(text="de la part d'Alice")),
        log_head=b"",
    )
    body, wrap = seal_message(alice.device, bruno.device, forged)
    with pytest.raises(Undecryptable):
        bruno.device.open(alice.device.certificate, body, wrap, now_ms=NOW)


def test_surreptitious_forwarding(scene: Scene) -> None:
    """Bruno passes Alice's signed words on to Chloe, under a wrap of his own."""
    chloe = Person()
    signed = scene.from_alice().message
    connect(scene.b, chloe.device)
    body, wrap = seal_message(scene.b, chloe.device, signed)
    for claimed in (scene.b, scene.a):
        with pytest.raises(Undecryptable):
            chloe.device.open(claimed.certificate, body, wrap, now_ms=NOW)


def test_ones_own_message_is_not_redirected(scene: Scene) -> None:
    """Alice wrote to a colleague; Mallory, a recipient, wants Bruno to take it as for him."""
    elsewhere = Person()
    connect(scene.a, elsewhere.device)
    signed = write(scene.a, [elsewhere.device], [elsewhere]).message
    body, wrap = seal_message(scene.a, scene.b, signed)
    with pytest.raises(Undecryptable):
        scene.b.open(scene.a.certificate, body, wrap, now_ms=NOW)


# --- downgrade ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weaken",
    [
        lambda prekey: replace(prekey, pq=b""),
        lambda prekey: replace(prekey, pq=prekey.pq[:-1]),
        lambda prekey: replace(prekey, pq=bytes(1216)),
        lambda prekey: replace(prekey, pq=hybrid.public_key(b"s" * 32)),
        lambda prekey: replace(prekey, last_resort=True),
    ],
)
def test_no_session_without_the_devices_own_post_quantum_key(
    scene: Scene, weaken: Callable[[prekeys.SignedPrekey], prekeys.SignedPrekey]
) -> None:
    (prekey,) = scene.b.new_prekeys(1, now_ms=NOW)
    with pytest.raises(Untrusted):
        scene.a.start_session(scene.b.certificate, weaken(prekey), now_ms=NOW)


def test_halves_of_two_prekeys_do_not_make_a_handshake(scene: Scene) -> None:
    """A correspondent who skips his own checks pairs one prekey's number with another's Olm key."""
    one, other = scene.b.new_prekeys(2, now_ms=NOW)
    scene.b.take_changes()
    started = sessions.start(
        scene.m._keyring.olm,
        scene.m.certificate,
        scene.b.certificate,
        replace(one, otk=other.otk),
        root=b"r" * 32,
        stamp=1,
        now_ms=NOW,
    )
    scene.refused(b"", started.encrypt(bytes(120), b"n" * 24), scene.m)


def test_a_device_that_signs_a_key_without_post_quantum_half_gets_no_session(
    scene: Scene,
) -> None:
    weak = prekeys.issue(
        scene.m.signing_key, device_of(scene.m), 1, b"\x09" + bytes(31), b"", last_resort=False
    )
    with pytest.raises(Untrusted):
        scene.a.start_session(scene.m.certificate, weak, now_ms=NOW)
    assert scene.a.needs_session(scene.m.certificate, now_ms=NOW)


@pytest.mark.parametrize("suite", [0, 2, 255])
def test_another_suite_byte(scene: Scene, suite: int) -> None:
    sealed = scene.from_alice()
    scene.refused(sealed.body, bytes([suite]) + scene.wrap(sealed)[1:])


def test_a_first_flight_cannot_be_stripped_to_a_steady_frame() -> None:
    a, b = Person(), Person()
    connect(a.device, b.device)
    sealed = write(a.device, [b.device], [b])
    wrap = sealed.wraps[device_of(b.device)]
    stripped = wrap[:1] + b"\1" + wrap[2:22] + wrap[22 + 1208 :]
    with pytest.raises(Undecryptable):
        b.device.open(a.device.certificate, sealed.body, stripped, now_ms=NOW)
    assert read(b.device, a.device, sealed).first_of_session


# --- malleability ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_of_a_steady_wrap_is_accepted(at: int, flip: int) -> None:
    _altered_wrap_is_refused(STEADY, at, flip)


def _altered_wrap_is_refused(scene: Scene, at: int, flip: int) -> None:
    sealed = scene.from_alice()
    wrap = bytearray(scene.wrap(sealed))
    wrap[at % len(wrap)] ^= flip
    scene.refused(sealed.body, bytes(wrap))
    read(scene.b, scene.a, sealed)
    scene.b.take_changes()


STEADY = Scene()


def test_no_flipped_bit_of_a_first_flight_is_accepted_or_spends_the_prekey() -> None:
    a, b = Person(), Person()
    connect(a.device, b.device)
    sealed = write(a.device, [b.device], [b])
    wrap = sealed.wraps[device_of(b.device)]
    b.device.take_changes()
    for at in range(len(wrap)):
        altered = wrap[:at] + bytes([wrap[at] ^ (1 << at % 8)]) + wrap[at + 1 :]
        with pytest.raises(Undecryptable):
            b.device.open(a.device.certificate, sealed.body, altered, now_ms=NOW)
    assert b.device.take_changes() == {}
    assert read(b.device, a.device, sealed).first_of_session


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2100), st.binary(max_size=300))
def test_any_bytes_are_one_error(wrap: bytes, body: bytes) -> None:
    STEADY.refused(body, wrap)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 1]), st.binary(min_size=40, max_size=1400))
def test_any_bytes_in_the_right_frame_are_one_error(kind: int, rest: bytes) -> None:
    known = session_of(STEADY.b, STEADY.a).id
    STEADY.refused(b"", bytes([1, kind]) + known + rest)


def test_a_message_id_has_one_place(scene: Scene) -> None:
    """The id in the wrap and the signed one must be the same."""
    signed = scene.from_alice().message
    body, wrap = seal_message(scene.a, scene.b, signed, wrapped_id=b"x" * 16)
    with pytest.raises(Undecryptable):
        scene.b.open(scene.a.certificate, body, wrap, now_ms=NOW)


def test_a_session_name_is_recomputed(scene: Scene) -> None:
    """Its opener cannot choose it, not even with all keys in hand."""
    (prekey,) = scene.b.new_prekeys(1, now_ms=NOW)
    scene.b.take_changes()
    scene.a.start_session(scene.b.certificate, prekey, now_ms=NOW)
    active = session_of(scene.a, scene.b)
    active.id = b"chosen name 1234"
    sealed = scene.from_alice()
    scene.refused(sealed.body, scene.wrap(sealed))


# --- bodies ---------------------------------------------------------------------------------------


def test_the_server_swaps_bodies(scene: Scene) -> None:
    """The wrap is then used up, the message reported as missing, nothing else disturbed."""
    first, second = scene.from_alice("un"), scene.from_alice("deux")
    with pytest.raises(Undecryptable):
        scene.b.open(scene.a.certificate, second.body, scene.wrap(first), now_ms=NOW)
    opened = read(scene.b, scene.a, second)
    assert said(opened) == "deux"
    assert (opened.order, opened.missing) == (Order.HOLE, 1)


@pytest.mark.parametrize("size", [0, 1, BODY_MAX + 1])
def test_bodies_of_any_size(scene: Scene, size: int) -> None:
    sealed = scene.from_alice()
    with pytest.raises(Undecryptable):
        scene.b.open(scene.a.certificate, bytes(size), scene.wrap(sealed), now_ms=NOW)


def test_a_body_larger_than_allowed_though_genuine(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_MAX", 2 * BODY_MAX)
    monkeypatch.setattr(contents, "encode", lambda content: b"x" * BODY_MAX)
    sealed = scene.from_alice()
    assert len(sealed.body) > BODY_MAX
    scene.refused(sealed.body, scene.wrap(sealed))


def test_a_sender_cannot_have_two_bodies_for_one_wrap(scene: Scene) -> None:
    """Both signed, under one id and content key: the server would choose which one is seen."""
    shown = scene.from_alice("un").message
    _, wrap = seal_message(scene.a, scene.b, shown)
    again = inner.compose(
        scene.a.signing_key,
        scene.a.certificate,
        message=shown.id,
        conversation=shown.conversation,
        sent_ms=shown.sent_ms,
        recipients=shown.recipients,
        content=contents.encode(Text(text="deux")),
        log_head=b"",
    )
    swapped = bodies.seal(again.encode(), shown.id, content_key=b"k" * 32)
    with pytest.raises(Undecryptable):
        scene.b.open(scene.a.certificate, swapped, wrap, now_ms=NOW)


def test_a_used_key_is_gone_from_the_receiving_chain(scene: Scene) -> None:
    """Else a seized phone and a later quantum computer would open what it received."""
    before = session_of(scene.b, scene.a).receiving
    read(scene.b, scene.a, scene.from_alice())
    after = session_of(scene.b, scene.a).receiving
    assert after.next_number == before.next_number + 1
    assert after.key not in (before.key, *before.skipped.values())


def test_two_recipients_cannot_be_shown_two_messages(scene: Scene) -> None:
    """One body under two content keys: the second key does not fit the body's own commitment."""
    sealed = scene.from_alice()
    hashed = bodies.body_hash(sealed.body)
    plain = Wrapped(b"second key".ljust(32), hashed, sealed.id, 9, bytes(32))
    with pytest.raises(Undecryptable):
        scene.b.open(
            scene.a.certificate,
            sealed.body,
            seal_wrap(scene.a, scene.b, plain.encode()),
            now_ms=NOW,
        )


def test_a_wrap_with_other_contents(scene: Scene) -> None:
    sealed = scene.from_alice()
    for plain in (b"", bytes(119), bytes(120), bytes(121)):
        with pytest.raises(Undecryptable):
            scene.b.open(
                scene.a.certificate,
                sealed.body,
                seal_wrap(scene.a, scene.b, plain),
                now_ms=NOW,
            )


# --- exhaustion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [CHAIN_GAP_MAX + 10, 2**31, 2**32 - 1])
def test_a_forged_number_costs_nothing(
    scene: Scene, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = scene.from_alice()
    wrap = scene.wrap(sealed)
    work: list[int] = []
    monkeypatch.setattr("miss_protocol.crypto.chain.derive", lambda *_: work.append(1))
    scene.refused(sealed.body, wrap[:18] + number.to_bytes(4, "big") + wrap[22:])
    assert not work


def test_forged_frames_leave_no_trace(scene: Scene) -> None:
    sealed = scene.from_alice()
    wrap = scene.wrap(sealed)
    before = session_of(scene.b, scene.a).receiving
    for number in range(1, 60):
        scene.refused(sealed.body, wrap[:18] + (number + 1).to_bytes(4, "big") + wrap[22:])
    assert session_of(scene.b, scene.a).receiving is before
    assert said(read(scene.b, scene.a, sealed)) == "bonjour"


def test_a_gap_beyond_bounds_is_refused_though_genuine(scene: Scene) -> None:
    active = session_of(scene.a, scene.b)
    skipped = active.sending
    for _ in range(CHAIN_GAP_MAX + 1):
        _, skipped = skipped.step()
    active.sending = skipped
    scene.refused(b"", active.encrypt(b"x", b"n" * 24))


def test_exhausted_prekeys_fall_back_to_the_last_resort_without_harm(scene: Scene) -> None:
    """An attacker claimed every one-time prekey and used none: later senders are still heard."""
    scene.b.new_prekeys(50, now_ms=NOW)
    last = scene.b.new_last_resort(now_ms=NOW)
    for _ in range(3):
        sender = Person()
        sender.device.start_session(scene.b.certificate, last, now_ms=NOW)
        sealed = write(sender.device, [scene.b], [scene.bruno])
        assert read(scene.b, sender.device, sealed).first_of_session


# --- keys of small order --------------------------------------------------------------------------

LOW = [bytes(32), b"\1" + bytes(31)]


@pytest.mark.parametrize("low", LOW)
def test_low_order_one_time_key_and_x_wing_half_though_signed(scene: Scene, low: bytes) -> None:
    pq = hybrid.public_key(b"s" * 32)
    for otk, key in ((low, pq), (b"\x09" + bytes(31), pq[:1184] + low)):
        signed = prekeys.issue(
            scene.m.signing_key, device_of(scene.m), 1, otk, key, last_resort=False
        )
        with pytest.raises(Untrusted):
            scene.a.start_session(scene.m.certificate, signed, now_ms=NOW)


@pytest.mark.parametrize("low", LOW)
def test_low_order_olm_keys_are_refused_by_olm_itself(scene: Scene, low: bytes) -> None:
    good = b"\x09" + bytes(31)
    for identity_key, one_time_key in ((low, good), (good, low)):
        with pytest.raises(Untrusted):
            scene.a._keyring.olm.start(identity_key, one_time_key)


def test_low_order_ratchet_key(scene: Scene) -> None:
    """Put by a correspondent into the Olm message, under an honest outer layer."""
    active = session_of(scene.a, scene.b)
    kind, message = active.olm.encrypt(b"x")
    # version ‖ tag 0x0a ‖ length 32 ‖ ratchet key
    assert message[1:3] == b"\x0a\x20"
    poisoned = message[:3] + bytes(32) + message[35:]
    key, _ = active.sending.step()
    header = envelope.header(active.id, active.sending.next_number, None)
    assert kind == 1
    scene.refused(b"", header + secretbox.seal(key, b"n" * 24, poisoned, header))


# --- inside a genuine outer layer -----------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"x" * 100])
def test_garbage_instead_of_an_olm_message(scene: Scene, message: bytes) -> None:
    active = session_of(scene.a, scene.b)
    key, _ = active.sending.step()
    header = envelope.header(active.id, active.sending.next_number, None)
    scene.refused(b"", header + secretbox.seal(key, b"n" * 24, message, header))
    assert said(read(scene.b, scene.a, scene.from_alice())) == "bonjour"


@pytest.mark.parametrize("message", [b"", b"\x03" + b"x" * 100])
def test_garbage_instead_of_a_first_olm_message_spends_nothing(
    scene: Scene, message: bytes
) -> None:
    (prekey,) = scene.b.new_prekeys(1, now_ms=NOW)
    scene.b.take_changes()
    info = envelope.handshake_info(
        scene.m.certificate.id, scene.b.certificate.id, prekey.id, prekey.otk
    )
    root = hybrid.seal_root(b"r" * 32, prekey.pq, info)
    opening = envelope.Opening(prekey.id, prekey.otk, root)
    header = envelope.header(envelope.session_id(root, info), 0, opening)
    key, _ = Chain(derive(b"r" * 32, b"MiSS/1 i2r")).step()
    wrap = header + secretbox.seal(key, b"n" * 24, message, header)
    scene.refused(b"", wrap, scene.m)
    scene.m.start_session(scene.b.certificate, prekey, now_ms=NOW)
    sealed = write(scene.m, [scene.b], [scene.bruno])
    assert read(scene.b, scene.m, sealed).first_of_session


def test_an_olm_session_of_another_identity_inside_ones_own_envelope(scene: Scene) -> None:
    """Mallory opens the outer layer as herself and Olm with a key that is not in her certificate."""
    (prekey,) = scene.b.new_prekeys(1, now_ms=NOW)
    scene.b.take_changes()
    scene.m.start_session(scene.b.certificate, prekey, now_ms=NOW)
    foreign = vz.Account()
    active = session_of(scene.m, scene.b)
    active.olm._session = foreign.create_outbound_session(
        vz.Curve25519PublicKey.from_bytes(scene.b.certificate.olm_key),
        vz.Curve25519PublicKey.from_bytes(prekey.otk),
    )
    sealed = write(scene.m, [scene.b], [scene.bruno])
    scene.refused(sealed.body, scene.wrap(sealed), scene.m)


# --- old state ------------------------------------------------------------------------------------


def test_a_sender_that_was_rolled_back_is_noticed() -> None:
    a, b, disk = Person(), Person(), Disk()
    connect(a.device, b.device)
    disk.save(a.device)
    old = disk.load()
    for _ in range(2):
        read(b.device, a.device, write(a.device, [b.device], [b]))
    repeated = write(old, [b.device], [b])
    with pytest.raises(Undecryptable):
        read(b.device, old, repeated)
    old.break_session(device_of(b.device))
    connect(old, b.device)
    assert read(b.device, old, write(old, [b.device], [b])).order is Order.CONTRADICTION


def test_a_revoked_device_has_no_session_any_more() -> None:
    """The client forgets it with the roster that revokes it, and shows no later message of it:
    its certificate is on no current roster. What it still sends opens nothing by itself."""
    a, b = Person(), Person()
    connect(a.device, b.device)
    read(b.device, a.device, write(a.device, [b.device], [b]))
    b.device.forget_device(device_of(a.device))
    with pytest.raises(Undecryptable):
        read(b.device, a.device, write(a.device, [b.device], [b]))


def test_the_receiver_learns_by_which_roster_it_was_chosen(scene: Scene) -> None:
    """So a server that withholds a roster update shows: the client compares this with its own."""
    stale = scene.bruno.recipient
    scene.bruno.add_device()
    outgoing = Outgoing(b"c" * 16, Text(text="x"), [stale])
    opened = read(scene.b, scene.a, scene.a.seal(outgoing, [scene.b.certificate], now_ms=NOW))
    (named,) = opened.message.recipients
    assert named.version < scene.bruno.roster.version
    assert named.roster_hash != scene.bruno.roster.hash


# --- what leaks -----------------------------------------------------------------------------------


def test_nothing_is_logged_and_no_error_quotes_a_secret(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sealed = scene.from_alice("secret médical")
    with pytest.raises(Undecryptable) as failed:
        scene.b.open(scene.a.certificate, b"", scene.wrap(sealed), now_ms=NOW)
    assert "secret" not in repr(failed.value)
    assert not caplog.records


def test_what_the_server_stores_does_not_hold_the_words_or_the_ids(scene: Scene) -> None:
    sealed = scene.from_alice("secret médical")
    stored = sealed.body + scene.wrap(sealed)
    for hidden in (b"secret", sealed.id, scene.a.certificate.id, b"c" * 16):
        assert hidden not in stored
