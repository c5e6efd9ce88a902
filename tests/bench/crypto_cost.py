"""What encryption costs a client: `python -m tests.bench.crypto_cost`. Prints, asserts nothing."""

import sys
import time
from collections.abc import Callable

from tests.support.devices import NOW, Person, connect, device_of, read, write

ROUNDS = 300


def main() -> None:
    """Print milliseconds of one core, and bytes, for a 160-character message."""
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
    _line("first message to a new device, state saved", sum(starts) / ROUNDS)
    connect(a, b)
    flight = write(a, [b], people, text)
    read(b, a, flight)
    read(a, b, write(b, [a], people, text))
    sealed = []
    _line("steady message, sealed", _mean(lambda: sealed.append(write(a, [b], people, text))))
    opening = iter(sealed)
    _line("steady message, opened", _mean(lambda: read(b, a, next(opening)), len(sealed)))
    _line("state of one message, saved", _mean(save_one))
    _bytes("first wrap", len(flight.wraps[device_of(b)]))
    _bytes("steady wrap", len(sealed[0].wraps[device_of(b)]))
    _bytes("body", len(sealed[0].body))


def _mean(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    begun = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - begun) / rounds


def _line(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:<45} {seconds * 1000:8.3f} ms\n")


def _bytes(what: str, count: int) -> None:
    sys.stdout.write(f"{what:<45} {count:8d} bytes\n")


if __name__ == "__main__":
    main()
