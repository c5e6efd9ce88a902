"""What came once is used up: replays, old state, and floods that are to exhaust a device."""

import pytest

from miss_protocol.content import Text
from miss_protocol.crypto.endpoint import Order, Outgoing
from miss_protocol.errors import Undecryptable
from miss_protocol.limits import CHAIN_GAP_MAX, RECEIVE_SESSIONS_MAX
from tests.support.adversary import Scene, session_of
from tests.support.devices import NOW, Disk, Person, connect, device_of, read, said, write

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
