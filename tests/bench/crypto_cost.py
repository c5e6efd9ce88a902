"""What encryption costs a client, in the time of one core and in bytes."""

import statistics
import time
from collections.abc import Callable

from tests.bench.figures import Bar, Figure
from tests.support.devices import NOW, Person, connect, device_of, read, write

FIRST, STEADY = Bar(5, True), Bar(0.5, True)


def figures(rounds: int = 300) -> list[Figure]:
    """For a message of 160 characters."""
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

    for _ in range(rounds):
        first()
    connect(a, b)
    flight = write(a, [b], people, text)
    read(b, a, flight)
    read(a, b, write(b, [a], people, text))
    sealed = []
    sealing = _times(lambda: sealed.append(write(a, [b], people, text)), rounds)
    waiting = iter(sealed)
    opening = _times(lambda: read(b, a, next(waiting)), len(sealed))
    saving = _times(save_one, rounds)
    return [
        Figure("client CPU, first message to a new device", _ms(starts), "ms", FIRST),
        Figure("client CPU, steady message sealed", _ms(sealing), "ms", STEADY),
        Figure("client CPU, steady message opened", _ms(opening), "ms", STEADY),
        Figure("client CPU, state of a message saved", _ms(saving), "ms"),
        Figure("first wrap", len(flight.wraps[device_of(b)]), "bytes"),
        Figure("steady wrap", len(sealed[0].wraps[device_of(b)]), "bytes"),
        Figure("body", len(sealed[0].body), "bytes"),
    ]


def _times(call: Callable[[], object], rounds: int) -> list[float]:
    taken: list[float] = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        taken.append(time.process_time() - begun)
    return taken


def _ms(taken: list[float]) -> float:
    return statistics.median(taken) * 1000
