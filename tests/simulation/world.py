"""A seeded world: people, devices, a server, a database, and everything that goes wrong.

A step is a name and two numbers that choose among what is possible, so a list of steps is a run
that anybody can repeat. `step` does nothing and says so when its step is not possible.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from miss_protocol import limits
from tests.simulation.ground import TTLS, Profile
from tests.simulation.happenings import Happenings
from tests.simulation.ledger import Broken
from tests.simulation.phone import ServerFault

Step = tuple[str, int, int]


class World(Happenings):
    """Use as a context manager; `step` it, then `heal` it."""

    def _bustle(self, a: int, b: int) -> bool:
        """For a moment everything works: each device and the server do what is next, a few times."""
        for _ in range(1 + b % 4):
            for number in range(len(self._usable())):
                self.step(("work", number, 1))
            for name, first, second in _KINDLY:
                for number in range(1 + a % 4):
                    self.step((name, first + number, second))
        return True

    ACTS: ClassVar[dict[str, tuple[Callable[[Any, int, int], bool], int]]] = {
        "write": (Happenings._write, 16),
        "work": (Happenings._work, 14),
        "bustle": (_bustle, 16),
        "claim": (Happenings._claim, 6),
        "upload again": (Happenings._upload_again, 4),
        "look": (Happenings._look, 3),
        "change roster": (Happenings._change_roster, 2),
        "dial": (Happenings._dial, 8),
        "cut": (Happenings._cut, 2),
        "server reads": (Happenings._server_reads, 22),
        "phone reads": (Happenings._phone_reads, 22),
        "phone dies": (Happenings._phone_dies, 1),
        "back up phone": (Happenings._back_up_phone, 1),
        "restore phone": (Happenings._restore_phone, 1),
        "fetch": (Happenings._fetch, 3),
        "post": (Happenings._post, 2),
        "answer call": (Happenings._answer_call, 14),
        "commit": (Happenings._commit, 22),
        "answer reads": (Happenings._answer_reads, 22),
        "ring": (Happenings._ring, 8),
        "time passes": (Happenings._time_passes, 5),
        "round": (Happenings._round, 4),
        "clock steps": (Happenings._clock_steps, 1),
        "crash": (Happenings._crash, 1),
        "copy database": (Happenings._copy_database, 1),
        "restore database": (Happenings._restore_database, 1),
    }
    """Every kind of step, and how often it is tried."""

    def step(self, step: Step) -> bool:
        """Do one step; tells whether it was possible.

        Raises:
            Broken, ServerFault: an invariant does not hold.
        """
        name, a, b = step
        act = self.ACTS[name][0]
        done = act(self, a, b)
        if done:
            self._settle()
        return done

    def heal(self) -> None:
        """No more faults: connect everybody, let everything happen, check the ledger.

        Raises:
            Broken, ServerFault: an invariant does not hold.
        """
        self.clock.ahead_ms = 0
        self._until_quiet()
        connected = [phone.id for phone in self._usable() if phone.welcomed]
        self.ledger.quiet(connected, self.node.store.eyes)
        for _ in range(3):
            self._let_pass(limits.TTL_MIN)
        self._let_pass(max(TTLS))
        self.ledger.closed(self.node.store.eyes)
        self._let_pass(limits.RESULT_KEPT)
        self._let_pass(limits.RESULT_KEPT)
        self.ledger.emptied(self.node.store.eyes)

    def ends(self) -> Iterator[str]:
        """What each device has at the end: for the history."""
        for phone in self.phones.values():
            disk, name = phone.disk, phone.id.hex()[:4]
            yield f"{name} is at {disk.position}, {phone.over or 'in use'}"
            yield f"{name} was shown {[(s.hex()[:4], m) for s, _, m in disk.shown]}"
            yield f"{name} has gaps {disk.gaps}, restores {disk.restored}, failures {disk.failed}"
            for message, outcomes in sorted(disk.outcomes.items()):
                states = sorted((device.hex()[:4], one.state) for device, one in outcomes.items())
                yield f"{name}'s message {message} ended {states}"

    def _let_pass(self, seconds: float) -> None:
        self.loop.advance(seconds)
        for name in ("tick", "expire", "clean"):
            self.node.round(name)
        self._until_quiet()

    def _until_quiet(self) -> None:
        quiet = 0
        for _ in range(400):
            moved = self._kindly()
            quiet = 0 if moved else quiet + 1
            if quiet == 3:
                return
            # Whatever nobody rang for is found by the sweep, within its time (I8).
            self.loop.advance(limits.SWEEP_EVERY)
            self.node.round("tick")
            self.node.round("sweep")
            self._settle()
        raise Broken("I13 the world never comes to rest")

    def _kindly(self) -> bool:
        """Do everything that can be done, without a fault; tells whether a device moved."""
        before = [phone.progress for phone in self.phones.values()]
        for phone in self._usable():
            if phone.socket is None and not self._locked(phone):
                self._connect(phone)
                self._settle()
        for _ in range(3000):
            acted = False
            for step in _KINDLY:
                while self.step(step):
                    acted = True
            for number in range(len(self._usable())):
                acted = self.step(("work", number, 1)) or acted
            if not acted:
                return before != [phone.progress for phone in self.phones.values()]
        raise Broken("I13 the world never comes to rest")


_KINDLY = (
    ("answer reads", 3, 0),
    ("commit", 7, 0),
    ("server reads", 0, 0),
    ("phone reads", 0, 0),
    ("answer call", 0, 1),
    ("ring", 0, 1),
)


__all__ = ["Broken", "Profile", "ServerFault", "Step", "World"]
