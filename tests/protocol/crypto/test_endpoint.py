"""Two devices and more: writing, answering, saving, renewing."""

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miss_protocol.content import SessionAck, Text
from miss_protocol.crypto import keyring
from miss_protocol.crypto.endpoint import Endpoint, Opened, Order, Outgoing
from miss_protocol.errors import Code, LocalError, Malformed, Refused, Undecryptable, Untrusted
from miss_protocol.ids import MessageId
from miss_protocol.limits import (
    LAST_RESORT_ROTATION,
    RECEIVE_SESSIONS_MAX,
    SESSION_MAX_AGE,
    SESSION_MAX_MESSAGES,
    WRAP_MAX,
)
from tests.support.devices import DAY_MS, NOW, Disk, Person, connect, device_of, read, said, write


@pytest.fixture
def alice() -> Person:
    return Person()


@pytest.fixture
def bruno() -> Person:
    return Person()


@pytest.fixture
def pair(alice: Person, bruno: Person) -> tuple[Endpoint, Endpoint]:
    connect(alice.device, bruno.device)
    return alice.device, bruno.device


def test_a_first_message_an_answer_and_small_frames_after(alice: Person, bruno: Person) -> None:
    a, b = alice.device, bruno.device
    people = [alice, bruno]
    assert a.needs_session(b.certificate, now_ms=NOW)
    connect(a, b)
    assert not a.needs_session(b.certificate, now_ms=NOW)
    first = write(a, [b], people, "une question")
    opened = read(b, a, first)
    assert said(opened) == "une question"
    assert opened.first_of_session
    assert (opened.order, opened.missing) == (Order.NEXT, 0)
    assert opened.message == first.message
    assert opened.message.recipients == tuple(
        sorted((alice.recipient, bruno.recipient), key=lambda one: one.account)
    )
    assert not b.needs_session(a.certificate, now_ms=NOW)
    answer = read(a, b, write(b, [a], people, SessionAck()))
    assert isinstance(answer.content, SessionAck)
    assert not answer.first_of_session
    steady = write(a, [b], people)
    assert said(read(b, a, steady)) == "bonjour"
    sizes = [len(sealed.wraps[device_of(b)]) for sealed in (first, steady)]
    assert 1500 < sizes[0] < WRAP_MAX
    assert sizes[1] < 300


def test_one_body_for_all_devices_and_ones_own(alice: Person, bruno: Person) -> None:
    tablet, desk = bruno.add_device(), alice.add_device()
    receivers = [bruno.device, tablet, desk]
    for receiver in receivers:
        connect(alice.device, receiver)
    sealed = write(alice.device, receivers, [bruno])
    assert len(set(sealed.wraps.values())) == 3
    for receiver in receivers:
        assert read(receiver, alice.device, sealed).message.id == sealed.id


def test_first_flight_arrives_in_any_order(alice: Person, bruno: Person) -> None:
    connect(alice.device, bruno.device)
    sealed = [write(alice.device, [bruno.device], [bruno], str(n)) for n in range(3)]
    opened = [read(bruno.device, alice.device, sealed[n]) for n in (2, 0, 1)]
    assert [said(one) for one in opened] == ["2", "0", "1"]
    assert [one.order for one in opened] == [Order.HOLE, Order.LATE, Order.LATE]
    assert [one.missing for one in opened] == [2, 0, 0]
    assert [one.first_of_session for one in opened] == [True, False, False]


def test_same_words_do_not_look_the_same(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    one, other = (write(a, [b], [bruno], "oui") for _ in range(2))
    assert one.body != other.body
    assert len(one.body) == len(write(a, [b], [bruno], "non merci").body)


def test_the_caller_may_set_id_and_time(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    message_id = MessageId(b"i" * 16)
    outgoing = Outgoing(
        b"c" * 16, Text(text="x"), [bruno.recipient], message_id, NOW - 1, log_head=b"h"
    )
    opened = read(b, a, a.seal(outgoing, [b.certificate], now_ms=NOW))
    assert opened.message.id == message_id
    assert opened.message.sent_ms == NOW - 1
    assert opened.message.log_head == b"h"


def test_a_message_encrypted_anew_is_known_as_the_same(
    pair: tuple[Endpoint, Endpoint], alice: Person, bruno: Person
) -> None:
    a, b = pair
    first = read(b, a, write(a, [b], [alice, bruno]))
    assert first.known_as == first.message.id

    def anew(text: str = "bonjour", conversation: bytes = b"c" * 16, sent_ms: int = NOW) -> Opened:
        outgoing = Outgoing(
            conversation,
            Text(text=text),
            [bruno.recipient, alice.recipient],
            sent_ms=sent_ms,
            original=first.message.id,
        )
        return read(b, a, a.seal(outgoing, [b.certificate], now_ms=NOW))

    copy = anew()
    assert copy.message.id != first.message.id
    assert copy.known_as == first.known_as
    assert copy.says == first.says
    for other in (anew("bonsoir"), anew(conversation=b"d" * 16), anew(sent_ms=NOW + 1)):
        assert other.known_as == first.known_as
        assert other.says != first.says
    for_one = Outgoing(b"c" * 16, Text(text="bonjour"), [bruno.recipient], sent_ms=NOW)
    assert read(b, a, a.seal(for_one, [b.certificate], now_ms=NOW)).says != first.says


def test_misuse_is_noticed_before_anything_changes(
    pair: tuple[Endpoint, Endpoint], bruno: Person
) -> None:
    a, b = pair
    tablet = bruno.add_device()
    a.take_changes()
    with pytest.raises(LocalError):
        write(a, [b, tablet], [bruno])
    with pytest.raises(LocalError):
        write(a, [b, b], [bruno])
    with pytest.raises(LocalError):
        a.start_session(a.certificate, a.new_last_resort(now_ms=NOW), now_ms=NOW)
    a.take_changes()
    with pytest.raises(Malformed):
        a.seal(Outgoing(b"c", Text(text="x"), []), [b.certificate], now_ms=NOW)
    with pytest.raises(Refused) as refused:
        write(a, [b], [bruno], "é" * 8000)
    assert refused.value.code is Code.TOO_LARGE
    assert a.take_changes() == {}


# --- saving ---------------------------------------------------------------------------------------


def test_everything_survives_saving_at_every_step(alice: Person, bruno: Person) -> None:
    disks = Disk(), Disk()
    a, b = alice.device, bruno.device
    connect(a, b)
    for turn in range(6):
        sender, receiver = (a, b) if turn % 2 == 0 else (b, a)
        sealed = write(sender, [receiver], [alice, bruno], f"tour {turn}")
        disks[0].save(a)
        disks[1].save(b)
        a, b = disks[0].load(), disks[1].load()
        sender, receiver = (a, b) if turn % 2 == 0 else (b, a)
        opened = read(receiver, sender, sealed)
        assert said(opened) == f"tour {turn}"
        assert opened.order is Order.NEXT
        disks[0].save(a)
        disks[1].save(b)
        a, b = disks[0].load(), disks[1].load()
    assert a.certificate == alice.device.certificate
    assert a.signing_key == alice.device.signing_key


def test_only_what_changed_is_saved(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    first = a.take_changes()
    assert {name.partition("/")[0] for name in first} == {"device", "olm", "peer", "session"}
    assert a.take_changes() == {}
    sealed = write(a, [b], [bruno])
    kinds = sorted(name.partition("/")[0] for name in a.take_changes())
    assert kinds == ["peer", "session"]
    b.take_changes()
    read(b, a, sealed)
    changes = b.take_changes()
    assert sorted(name.partition("/")[0] for name in changes) == [
        "olm",
        "peer",
        "prekey",
        "session",
    ]
    assert [item for name, item in changes.items() if name.startswith("prekey/")] == [None]


def test_two_saves_of_one_state_do_not_look_alike(pair: tuple[Endpoint, Endpoint]) -> None:
    """Pickles are deterministic: under one key, equal parts would show."""
    a, b = pair
    a.take_changes()
    items = []
    for _ in range(2):
        a.break_session(device_of(b))
        (item,) = a.take_changes().values()
        assert item is not None
        items.append(item)
    assert items[0] != items[1]
    assert len(items[0]) == len(items[1])


@pytest.mark.parametrize("kind", ["device", "olm", "prekey", "session", "peer", "seen"])
def test_damaged_state_is_refused_as_a_whole(alice: Person, bruno: Person, kind: str) -> None:
    last = bruno.device.new_last_resort(now_ms=NOW)
    bruno.device.new_prekeys(1, now_ms=NOW)
    alice.device.start_session(bruno.device.certificate, last, now_ms=NOW)
    read(bruno.device, alice.device, write(alice.device, [bruno.device], [bruno]))
    disk = Disk()
    disk.save(bruno.device)
    (name,) = [name for name in disk.items if name.startswith(kind)][:1]
    good = disk.items[name]
    for damaged in (good[:-1], good + b"\0", b""):
        disk.items[name] = damaged
        with pytest.raises(LocalError) as failed:
            disk.load()
        assert failed.value.__cause__ is None
    disk.items[name] = good
    assert disk.load().certificate == bruno.device.certificate


@pytest.mark.parametrize("kind", ["device", "olm", "peer"])
def test_incomplete_state_is_refused(
    pair: tuple[Endpoint, Endpoint], bruno: Person, kind: str
) -> None:
    disk = Disk()
    disk.save(pair[0])
    disk.items = {name: item for name, item in disk.items.items() if not name.startswith(kind)}
    with pytest.raises(LocalError):
        disk.load()


# --- prekeys --------------------------------------------------------------------------------------


def test_prekeys_come_in_any_number() -> None:
    device = Person().device
    made = device.new_prekeys(120, now_ms=NOW)
    assert [prekey.id for prekey in made] == list(range(1, 121))
    assert len({prekey.otk for prekey in made}) == len({prekey.pq for prekey in made}) == 120
    assert device.new_prekeys(0, now_ms=NOW) == []


def test_ids_never_come_again_after_saving() -> None:
    device, disk = Person().device, Disk()
    device.new_prekeys(3, now_ms=NOW)
    disk.save(device)
    assert disk.load().new_prekeys(1, now_ms=NOW)[0].id == 4


def test_voided_prekeys_open_nothing(alice: Person, bruno: Person) -> None:
    connect(alice.device, bruno.device)
    sealed = write(alice.device, [bruno.device], [bruno])
    bruno.device.void_prekeys()
    with pytest.raises(Undecryptable):
        read(bruno.device, alice.device, sealed)
    connect(alice.device, bruno.device)
    again = write(alice.device, [bruno.device], [bruno])
    assert read(bruno.device, alice.device, again).first_of_session


def test_old_one_time_prekeys_give_way(monkeypatch: pytest.MonkeyPatch, alice: Person) -> None:
    monkeypatch.setattr(keyring, "ONE_TIME_KEPT_MAX", 5)
    device, disk = Person().device, Disk()
    device.new_prekeys(4, now_ms=NOW)
    disk.save(device)
    device.new_prekeys(3, now_ms=NOW)
    disk.save(device)
    assert sorted(name for name in disk.items if name.startswith("prekey/")) == [
        f"prekey/{number}" for number in range(3, 8)
    ]


def test_a_last_resort_serves_several_senders_and_the_one_before_still_does(
    bruno: Person,
) -> None:
    device = bruno.device
    assert device.last_resort_due(now_ms=NOW)
    kept = [device.new_last_resort(now_ms=NOW + week * 7 * DAY_MS) for week in range(2)]
    for prekey in (*kept, *kept):
        sender = Person().device
        sender.start_session(device.certificate, prekey, now_ms=NOW)
        assert read(device, sender, write(sender, [device], [bruno])).first_of_session
    device.new_last_resort(now_ms=NOW)
    sender = Person().device
    sender.start_session(device.certificate, kept[0], now_ms=NOW)
    with pytest.raises(Undecryptable):
        read(device, sender, write(sender, [device], [bruno]))


def test_a_last_resort_is_due_weekly() -> None:
    device, disk = Person().device, Disk()
    device.new_last_resort(now_ms=NOW)
    disk.save(device)
    device = disk.load()
    assert not device.last_resort_due(now_ms=NOW + LAST_RESORT_ROTATION * 1000 - 1)
    assert device.last_resort_due(now_ms=NOW + LAST_RESORT_ROTATION * 1000)


def test_rotation_forgets_which_handshakes_used_the_old_one(bruno: Person) -> None:
    device, disk = bruno.device, Disk()
    sender = Person().device
    prekey = device.new_last_resort(now_ms=NOW)
    sender.start_session(device.certificate, prekey, now_ms=NOW)
    read(device, sender, write(sender, [device], [bruno]))
    disk.save(device)
    assert sum(name.startswith("seen/") for name in disk.items) == 1
    device = disk.load()
    for _ in range(2):
        device.new_last_resort(now_ms=NOW)
    disk.save(device)
    assert not any(name.startswith("seen/") for name in disk.items)


# --- renewal --------------------------------------------------------------------------------------


def test_a_session_is_renewed_after_a_week_by_any_clock(
    pair: tuple[Endpoint, Endpoint],
) -> None:
    a, b = pair
    week = SESSION_MAX_AGE * 1000
    assert not a.needs_session(b.certificate, now_ms=NOW + week - 1)
    assert a.needs_session(b.certificate, now_ms=NOW + week)
    assert a.needs_session(b.certificate, now_ms=NOW - week)


def test_a_session_is_renewed_after_500_messages(
    pair: tuple[Endpoint, Endpoint], bruno: Person
) -> None:
    a, b = pair
    for _ in range(SESSION_MAX_MESSAGES - 1):
        write(a, [b], [bruno])
    assert not a.needs_session(b.certificate, now_ms=NOW)
    write(a, [b], [bruno])
    assert a.needs_session(b.certificate, now_ms=NOW)


def test_the_pair_chain_spans_a_renewal(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    read(b, a, write(a, [b], [bruno]))
    lost = write(a, [b], [bruno])
    a.break_session(device_of(b))
    assert a.needs_session(b.certificate, now_ms=NOW)
    connect(a, b)
    opened = read(b, a, write(a, [b], [bruno]))
    assert opened.first_of_session
    assert (opened.order, opened.missing) == (Order.HOLE, 1)
    late = read(b, a, lost)
    assert late.order is Order.LATE


def test_after_a_renewal_late_frames_do_not_bring_the_old_session_back(
    pair: tuple[Endpoint, Endpoint], alice: Person, bruno: Person
) -> None:
    a, b = pair
    read(b, a, write(a, [b], [bruno]))
    under_way = write(b, [a], [alice])
    a.break_session(device_of(b))
    connect(a, b)
    read(a, b, under_way)
    renewed = write(a, [b], [bruno])
    assert read(b, a, renewed).first_of_session


def test_breaking_what_does_not_exist_is_nothing(alice: Person, bruno: Person) -> None:
    alice.device.take_changes()
    alice.device.break_session(device_of(bruno.device))
    alice.device.forget_device(device_of(bruno.device))
    assert alice.device.take_changes() == {}


def test_a_forgotten_device_leaves_nothing(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    disk = Disk()
    disk.save(a)
    a.forget_device(device_of(b))
    disk.save(a)
    assert {name.partition("/")[0] for name in disk.items} == {"device", "olm"}
    with pytest.raises(LocalError):
        write(a, [b], [bruno])


def test_simultaneous_starts_lose_nothing_and_settle(alice: Person, bruno: Person) -> None:
    a, b = alice.device, bruno.device
    people = [alice, bruno]
    connect(a, b)
    connect(b, a)
    from_a, from_b = write(a, [b], people, "de A"), write(b, [a], people, "de B")
    assert said(read(a, b, from_b)) == "de B"
    assert said(read(b, a, from_a)) == "de A"
    read(b, a, write(a, [b], people))
    read(a, b, write(b, [a], people))
    sessions = {write(a, [b], people).wraps[device_of(b)][2:18]}
    sessions.add(write(b, [a], people).wraps[device_of(a)][2:18])
    assert len(sessions) == 1


def test_at_most_four_sessions_are_kept_and_the_stalest_goes(alice: Person, bruno: Person) -> None:
    a, b = alice.device, bruno.device
    first_flights = []
    for _ in range(RECEIVE_SESSIONS_MAX + 1):
        connect(a, b)
        first_flights.append(write(a, [b], [bruno]))
    for sealed in first_flights:
        read(b, a, sealed)
    disks = Disk(), Disk()
    for disk, device in zip(disks, (a, b), strict=True):
        disk.save(device)
        count = sum(name.startswith("session/") for name in disk.items)
        assert count == RECEIVE_SESSIONS_MAX
    again = write(a, [b], [bruno])
    assert read(b, a, again).order is Order.NEXT


def test_a_device_id_keeps_its_keys(pair: tuple[Endpoint, Endpoint], bruno: Person) -> None:
    a, b = pair
    changed = replace(b.certificate, created_ms=NOW + 1)
    with pytest.raises(Untrusted):
        a.needs_session(changed, now_ms=NOW)
    with pytest.raises(Untrusted):
        a.seal(Outgoing(b"c" * 16, Text(text="x"), [bruno.recipient]), [changed], now_ms=NOW)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a>b", "b>a", "a>lost", "b>lost", "save", "a breaks", "b breaks"]),
        max_size=40,
    )
)
def test_whatever_is_lost_saved_or_broken_the_rest_arrives(steps: list[str]) -> None:
    """A model of two devices over a server that keeps order and may lose: no message that arrives
    is unreadable, and the holes that are reported are exactly what was lost."""
    people = {"a": Person(), "b": Person()}
    devices = {name: person.device for name, person in people.items()}
    disks = {"a": Disk(), "b": Disk()}
    lost = {"a": 0, "b": 0}
    for number, step in enumerate(steps):
        if step == "save":
            for name, disk in disks.items():
                disk.save(devices[name])
                devices[name] = disk.load()
            continue
        name, other = ("a", "b") if step.startswith("a") else ("b", "a")
        sender, receiver = devices[name], devices[other]
        if step.endswith("breaks"):
            sender.break_session(device_of(receiver))
            continue
        if sender.needs_session(receiver.certificate, now_ms=NOW):
            connect(sender, receiver)
        sealed = write(sender, [receiver], list(people.values()), f"message {number}")
        if step.endswith("lost"):
            lost[name] += 1
            continue
        opened = read(receiver, sender, sealed)
        assert said(opened) == f"message {number}"
        assert opened.missing == lost[name]
        assert opened.order is (Order.HOLE if lost[name] else Order.NEXT)
        lost[name] = 0


def test_randomness_is_the_callers() -> None:
    """Except inside Olm and HPKE, which take none: a device's own keys follow from it."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    Endpoint.create(Person().account, now_ms=NOW, random=random)
    assert asked == [32, 16]
