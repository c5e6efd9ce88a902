"""What encryption costs a client, in the time of one core and in bytes."""

import time
from collections.abc import Callable

from tests.support.devices import NOW, Person, connect, device_of, read, write

ROUNDS = 300


def figures() -> list[tuple[str, float, str]]:
    """For a message of 160 characters: (name, value, unit)."""
    text = "x" * 160
    alice, bruno = Person(), Person()
    people = [alice, bruno]
    a, b = alice.device, bruno.device
    starts = []

    def first() -> None:
        device = Person().device
        (prekey,) = device.new_prekeys(1, now_ms=NOW)
        begun = time.process_time()
        a.start_session(device.certificate, prekey, now_ms=NOW)
        write(a, [device], people, text)
        a.take_changes()
        starts.append(time.process_time() - begun)

    def save_one() -> None:
        b.break_session(device_of(a))
        b.take_changes()

    for _ in range(ROUNDS):
        first()
    connect(a, b)
    flight = write(a, [b], people, text)
    read(b, a, flight)
    read(a, b, write(b, [a], people, text))
    sealed = []
    sealing = _mean(lambda: sealed.append(write(a, [b], people, text)))
    waiting = iter(sealed)
    opening = _mean(lambda: read(b, a, next(waiting)), len(sealed))
    return [
        ("client CPU, first message to a new device", sum(starts) / ROUNDS * 1000, "ms"),
        ("client CPU, steady message sealed", sealing * 1000, "ms"),
        ("client CPU, steady message opened", opening * 1000, "ms"),
        ("client CPU, state of a message saved", _mean(save_one) * 1000, "ms"),
        ("first wrap", len(flight.wraps[device_of(b)]), "bytes"),
        ("steady wrap", len(sealed[0].wraps[device_of(b)]), "bytes"),
        ("body", len(sealed[0].body), "bytes"),
    ]


def _mean(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    begun = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - begun) / rounds
