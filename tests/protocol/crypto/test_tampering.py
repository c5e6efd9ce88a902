"""What was altered, swapped or made up is refused, by one error that tells nothing."""

import logging

import pytest
import vodozemac as vz
from hypothesis import given, settings
from hypothesis import strategies as st

from miss_protocol import content as contents
from miss_protocol.content import Text
from miss_protocol.crypto import body as bodies
from miss_protocol.crypto import envelope, hybrid, secretbox
from miss_protocol.crypto.chain import Chain, derive
from miss_protocol.crypto.endpoint import Order
from miss_protocol.crypto.wrapped import Wrapped
from miss_protocol.errors import Undecryptable
from miss_protocol.identity import message as inner
from miss_protocol.limits import BODY_MAX
from tests.support.adversary import Scene, seal_message, seal_wrap, session_of
from tests.support.devices import NOW, Person, connect, device_of, read, said, write

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
