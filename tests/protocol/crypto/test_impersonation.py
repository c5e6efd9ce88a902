"""Nobody speaks in another's name, and nobody is talked into weaker keys."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from miss_protocol import content as contents
from miss_protocol.content import Text
from miss_protocol.crypto import envelope, hybrid, secretbox
from miss_protocol.crypto import session as sessions
from miss_protocol.errors import Undecryptable, Untrusted
from miss_protocol.identity import message as inner
from miss_protocol.identity import prekeys
from miss_protocol.ids import MessageId
from tests.support.adversary import Scene, seal_message, session_of
from tests.support.devices import NOW, Disk, Person, connect, device_of, read, said, write

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
