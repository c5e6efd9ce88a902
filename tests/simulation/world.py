"""A seeded world: people, devices, a server, a database, and everything that goes wrong.

A step is a name and two numbers that choose among what is possible, so a list of steps is a run
that anybody can repeat. `step` does nothing and says so when its step is not possible.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from unittest.mock import patch

import msgspec
import structlog

from miss_protocol import api, limits
from miss_protocol import frames as f
from miss_protocol.errors import Code, RemoteError
from miss_protocol.identity import roster as rosters
from miss_protocol.ids import DeviceId
from miss_server.http import devices as devices_http
from miss_server.http import mailbox as mailbox_http
from miss_server.storage.sqlite import sessions
from tests.simulation.cast import NOW, Member, cast, folder
from tests.simulation.disk import Disk, Draft
from tests.simulation.ledger import Broken, Ledger
from tests.simulation.loop import VirtualLoop
from tests.simulation.node import Call, Node, Socket, VirtualClock, signed
from tests.simulation.phone import Dies, Phone, ServerFault
from tests.simulation.storage import Died, Fate

Step = tuple[str, int, int]

SHRUNK = {
    "WINDOW_START": 1500,
    "WINDOW_MIN": 600,
    "SENDS_IN_FLIGHT_MAX": 3,
}
"""Limits made small, so that a few messages reach them."""
SMALL_MAILBOX = {"MAILBOX_ROWS_MAX": 5}
TTLS = (limits.TTL_MIN, 900, 3600, 24 * 3600)
WAITS = (0.1, 0.5, 1.0, 3.0, 12.0, 70.0, 600.0, 3600.0)
STEPS_OF_CLOCK = (0, 0, 200_000, -200_000, 3_600_000, -3_600_000)
FATES = (*(Fate.WELL,) * 44, Fate.REFUSED, Fate.UNKNOWN, Fate.CRASH_INSIDE, Fate.CRASH_AFTER)
DEATHS = (*(Dies.NOT,) * 29, Dies.BEFORE_SAVING, Dies.BETWEEN, Dies.AFTER_SAVING)


@dataclass(frozen=True)
class Profile:
    """Which troubles a world has beside cuts, crashes and lost rings."""

    small_mailbox: bool = False
    restores: bool = False
    """The database may be put back to an older copy. Every envelope can be opened then: one that
    could not, was encrypted anew under another id, and is submitted again, is shown twice."""
    old_phones: bool = False
    """A device may be put back to an older copy."""
    clock_steps: bool = False
    deaf: bool = False
    """No ring is ever heard, also while it heals: only the sweep finds what waits."""

    @classmethod
    def of(cls, seed: int) -> "Profile":
        """One for each number; restores and old phones never together, for then nobody knows."""
        return cls(
            small_mailbox=seed % 4 == 1,
            restores=seed % 3 == 1,
            old_phones=seed % 3 == 2,
            clock_steps=seed % 5 == 1,
            deaf=seed % 2 == 1,
        )


@dataclass
class _Pending:
    call: Call
    phone: Phone
    life: int
    told: Callable[[bytes], None]
    locks: bool = False


class World:
    """Use as a context manager; `step` it, then `heal` it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.cast = cast()
        self._folder = Path(tempfile.mkdtemp(prefix="miss-", dir=folder()))
        self._path = self._folder / "miss.sqlite"
        self._path.write_bytes(self.cast.database)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.phones: dict[bytes, Phone] = {}
        self.sockets: list[Socket] = []
        self.calls: list[_Pending] = []
        self.ledger = Ledger(self.phones)
        self.messages = 0
        self.faults: list[str] = []
        self._copies: list[bytes] = []
        self._backups: dict[bytes, Disk] = {}
        self._shrunk = _shrunk(SHRUNK | (SMALL_MAILBOX if profile.small_mailbox else {}))
        self._quiet = _quiet(self.faults)
        self.node = Node(self._path, self.loop, self.clock)

    def __enter__(self) -> Self:
        self._shrunk.__enter__()
        self._quiet.__enter__()
        for some in self.cast.members:
            self._meet(some[0])
        self.ledger.began(self.node.store.eyes)
        return self

    def __exit__(self, *_: object) -> None:
        self.node.die()
        self.loop.close()
        self._quiet.__exit__(None, None, None)
        self._shrunk.__exit__(None, None, None)
        shutil.rmtree(self._folder)

    def _meet(self, member: Member) -> None:
        seed = int.from_bytes(member.id[:6], "big")
        phone = Phone(member, self.cast, self._phone_time, seed)
        own = [r for r in self.cast.rosters if r.account == member.account]
        for roster in own if own[0].find(member.id) else []:
            phone.learn(roster)
        phone.on_shown = lambda sender, id: self.ledger.shown(member.id, sender, id)
        self.phones[member.id] = phone

    def _phone_time(self) -> int:
        return NOW + round(self.loop.time() * 1000)

    # --- choosing ---------------------------------------------------------------------------------

    def step(self, step: Step) -> bool:
        """Do one step; tells whether it was possible.

        Raises:
            Broken, ServerFault: an invariant does not hold.
        """
        name, a, b = step
        act: Callable[[World, int, int], bool] = self.ACTS[name][0]
        done = act(self, a, b)
        if done:
            self._settle()
        return done

    def _settle(self) -> None:
        self.loop.settle()
        faults = [*self.loop.faults, *self.faults]
        if faults:
            raise Broken(f"the server made a mistake: {faults[0]}")

    def _usable(self) -> list[Phone]:
        return [phone for phone in self.phones.values() if not phone.over]

    @staticmethod
    def _pick(some: list[Any], number: int) -> Any:
        return some[number % len(some)]

    # --- people -----------------------------------------------------------------------------------

    def _write(self, a: int, b: int) -> bool:
        phone: Phone = self._pick(self._usable() or [None], a)
        if phone is None:
            return False
        others = [some[0].account for some in self.cast.members]
        others.remove(phone.account)
        to = ((others[0],), (others[1],), tuple(others))[b % 3]
        self.messages += 1
        phone.write(
            Draft(
                self.messages,
                to,
                self._phone_time(),
                TTLS[(b // 3) % 4],
                poison=(b // 12) % 6 == 0 and not self.profile.restores,
                large=(b // 72) % 4 == 0,
            )
        )
        return True

    def _work(self, a: int, b: int) -> bool:
        """A device does what it has to do: ask for rosters, encrypt, send."""
        usable = self._usable()
        if not usable:
            return False
        phone: Phone = self._pick(usable, a)
        busy = not phone.admitted or any(p.phone is phone for p in self.calls)
        if self._locked(phone):
            return False
        before = len(self.calls), phone.disk.sn
        if not busy and phone.lost_rosters:
            self._propose(phone, phone.lost_rosters.pop(0))
        elif not busy and phone.wanted:
            self._ask_roster(phone)
        while phone.encrypt():
            pass
        phone.push()
        written = phone.session.data_to_send() if phone.socket else []
        if phone.socket is not None:
            phone.socket.up.extend(written)
        return bool(written) or before != (len(self.calls), phone.disk.sn)

    def _look(self, a: int, b: int) -> bool:
        reading = [phone for phone in self._usable() if phone.disk.shown]
        if not reading:
            return False
        phone: Phone = self._pick(reading, a)
        phone.read_aloud(b % len(phone.disk.shown))
        phone._ack(None)
        phone.flush()
        return True

    def _change_roster(self, a: int, b: int) -> bool:
        able = [
            phone
            for phone in self._usable()
            if (own := phone.disk.rosters.get(phone.account)) is not None and own.find(phone.id)
        ]
        if not able:
            return False
        phone: Phone = self._pick(able, a)
        own = phone.disk.rosters[phone.account]
        some = next(m for m in self.cast.members if m[0].account == phone.account)
        gone = {one.device for one in own.revoked}
        new = [m for m in some if own.find(m.id) is None and m.id not in gone]
        listed = [m for m in some if own.find(m.id) is not None and m.id != phone.id]
        if b % 3 and new:
            add, revoke = [self._pick(new, b // 3).entry], []
        elif listed:
            add, revoke = [], [self._pick(listed, b // 3).id]
        else:
            return False
        following = rosters.succeed(
            own, phone.member.key, phone.id, add=add, revoke=revoke, now_ms=self._phone_time()
        )
        self._propose(phone, following)
        return True

    # --- devices and the network ------------------------------------------------------------------

    def _locked(self, phone: Phone) -> bool:
        """Whether the device's other process holds the store."""
        return any(p.phone is phone and p.locks and p.life == phone.life for p in self.calls)

    def _dial(self, a: int, b: int) -> bool:
        ready = [
            phone
            for phone in self._usable()
            if (phone.socket is None or b % 32 == 0) and not self._locked(phone)
        ]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        self._connect(phone)
        return True

    def _connect(self, phone: Phone) -> None:
        phone.admitted = True
        socket = Socket(phone.id)
        socket.on_word = self._said
        phone.dial(socket)
        self.sockets = [s for s in self.sockets if not (s.server_gone and s.client_gone)]
        self.sockets.append(socket)
        self.node.open(socket)

    def _said(self, device: DeviceId, frame: f.ServerFrame) -> None:
        try:
            self.ledger.said(device, frame, self.node.store.eyes)
        except Broken as broken:
            self.faults.append(str(broken))

    def _cut(self, a: int, b: int) -> bool:
        connected = [phone for phone in self._usable() if phone.socket is not None]
        if not connected:
            return False
        phone: Phone = self._pick(connected, a)
        assert phone.socket is not None
        # What was on its way may arrive, or a part of it from the beginning.
        for _ in range(b % 3):
            if phone.socket.up:
                phone.socket.up.pop()
        phone.hang_up()
        return True

    def _server_reads(self, a: int, b: int) -> bool:
        heard = [
            socket
            for socket in self.sockets
            if not socket.server_gone and (socket.up or socket.client_gone)
        ]
        if not heard:
            return False
        self._pick(heard, a).hear()
        return True

    def _phone_reads(self, a: int, b: int) -> bool:
        ready = [
            phone
            for phone in self._usable()
            if phone.socket is not None and phone.socket.down and not self._locked(phone)
        ]
        if not ready:
            return False
        self._pick(ready, a).read(DEATHS[b % len(DEATHS)])
        return True

    def _phone_dies(self, a: int, b: int) -> bool:
        usable = self._usable()
        if not usable:
            return False
        phone: Phone = self._pick(usable, a)
        phone.hang_up()
        phone.wake()
        return True

    def _back_up_phone(self, a: int, b: int) -> bool:
        usable = self._usable()
        if not (self.profile.old_phones and usable):
            return False
        phone: Phone = self._pick(usable, a)
        self._backups[phone.id] = phone.disk.backup()
        return True

    def _restore_phone(self, a: int, b: int) -> bool:
        able = [phone for phone in self._usable() if phone.id in self._backups]
        if not able or b % 2:
            return False
        phone: Phone = self._pick(able, a)
        phone.hang_up()
        phone.disk, phone.is_copy = self._backups.pop(phone.id), True
        phone.wake()
        return True

    # --- HTTP -------------------------------------------------------------------------------------

    def _begin_call(
        self,
        handler: Callable[[Any], Any],
        phone: Phone,
        body: object,
        told: Callable[[bytes], None],
        locks: bool = False,
        **more: Any,
    ) -> None:
        call = self.node.call(handler, phone.id, msgspec.json.encode(body), **more)
        self.calls.append(_Pending(call, phone, phone.life, told, locks))

    def _fetch(self, a: int, b: int) -> bool:
        ready = [phone for phone in self._usable() if not self._locked(phone)]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        call = phone.mailbox_call()

        def told(body: bytes) -> None:
            phone.fetched(call, msgspec.json.decode(body, type=api.MailboxPage))

        self._begin_call(mailbox_http.fetch, phone, call, told, locks=True)
        return True

    def _post(self, a: int, b: int) -> bool:
        ready = [phone for phone in self._usable() if phone.unsettled()]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        send, node = phone.unsettled()[0], self.node

        def told(body: bytes) -> None:
            reply = msgspec.json.decode(body, type=f.Sent | f.Refused | f.RetrySend)
            if isinstance(reply, f.RetrySend):
                return
            if node is self.node:
                self._said(phone.id, reply)
            else:
                self.ledger.heard(phone.id, reply)
            phone.settle(reply)

        self._begin_call(mailbox_http.send, phone, send, told)
        return True

    def _propose(self, phone: Phone, roster: rosters.Roster) -> None:
        self._begin_call(
            devices_http.change_roster,
            phone,
            api.RosterProposed(roster.encode()),
            lambda _: self._accepted(phone, roster),
        )

    @staticmethod
    def _accepted(phone: Phone, roster: rosters.Roster) -> None:
        known = phone.disk.rosters.get(roster.account)
        if known is None or known.version < roster.version:
            phone.learn(roster)

    def _ask_roster(self, phone: Phone) -> None:
        account = phone.wanted[0]
        known = phone.disk.rosters.get(account)

        def told(body: bytes) -> None:
            phone.rosters_told(msgspec.json.decode(body, type=api.Rosters))
            if account in phone.wanted:
                phone.wanted.remove(account)

        self._begin_call(
            devices_http.rosters,
            phone,
            None,
            told,
            path_params={"address": account},
            query_params={"after": str(known.version if known else 0)},
        )

    def _answer_call(self, a: int, b: int) -> bool:
        done = [pending for pending in self.calls if pending.call.done]
        if not done:
            return False
        pending: _Pending = self._pick(done, a)
        self.calls.remove(pending)
        phone = pending.phone
        answer = pending.call.answer()
        if b % 6 == 0 or phone.life != pending.life or phone.over or answer is None:
            return True  # the answer was lost on its way
        if isinstance(answer, RemoteError):
            if answer.code is Code.ROSTER_CONFLICT:
                phone.want(phone.account)
            elif self._is_revoked(phone):
                phone.end("revoked")  # in the middle of the call: any refusal will do
            else:
                phone.refused(answer)
        else:
            pending.told(answer)
        return True

    def _is_revoked(self, phone: Phone) -> bool:
        record = sessions.device(self.node.store.eyes, phone.id)
        return record is not None and record.revoked

    # --- the server -------------------------------------------------------------------------------

    def _commit(self, a: int, b: int) -> bool:
        writer = self.node.store.writer
        if not writer.waiting:
            return False
        try:
            writer.commit(1 + a % 8, FATES[b % len(FATES)])
        except Died:
            self._loop_settled()
            self.ledger.committed(self.node.store.eyes)
            self._restart()
            return True
        self._loop_settled()
        self.ledger.committed(self.node.store.eyes)
        self._look_for_new_devices()
        return True

    def _loop_settled(self) -> None:
        self._settle()

    def _look_for_new_devices(self) -> None:
        for (device,) in self.node.store.eyes.execute("SELECT id FROM devices"):
            if device not in self.phones:
                self._meet(self.cast.member(device))
                self.phones[device].server_lost_memory = self.ledger.restores > 0
                self.phones[device].want(self.phones[device].account)

    def _answer_reads(self, a: int, b: int) -> bool:
        if not self.node.store.asked:
            return False
        self.node.store.answer_reads(1 + a % 4)
        return True

    def _ring(self, a: int, b: int) -> bool:
        if not self.node.doorbell.rings:
            return False
        if self.profile.deaf or b % 4 == 0:
            self.node.doorbell.rings.popleft()
        else:
            self.node.doorbell.sound()
        return True

    def _time_passes(self, a: int, b: int) -> bool:
        self.loop.advance(WAITS[a % (len(WAITS) if b % 4 == 0 else 5)])
        self.node.round("tick")
        return True

    def _round(self, a: int, b: int) -> bool:
        self.node.round(("sweep", "sweep", "expire", "clean")[a % 4])
        return True

    def _bustle(self, a: int, b: int) -> bool:
        """For a moment everything works: each device and the server do what is next, a few times."""
        for _ in range(1 + b % 4):
            for number in range(len(self._usable())):
                self.step(("work", number, 1))
            for name, first, second in _KINDLY:
                for number in range(1 + a % 4):
                    self.step((name, first + number, second))
        return True

    def _clock_steps(self, a: int, b: int) -> bool:
        if not self.profile.clock_steps:
            return False
        self.clock.ahead_ms = STEPS_OF_CLOCK[a % len(STEPS_OF_CLOCK)]
        return True

    def _crash(self, a: int, b: int) -> bool:
        if b % 3:
            return False
        self._restart()
        return True

    def _restart(self, database: bytes | None = None) -> None:
        for socket in self.sockets:
            socket.dead = socket.server_gone = True
        self.node.die()
        self.loop.faults.clear()  # of tasks that died half-way
        self.faults.clear()
        for phone in self.phones.values():
            phone.hang_up()
        self.sockets.clear()
        if database is not None:
            for beside in self._folder.iterdir():
                beside.unlink()
            self._path.write_bytes(database)
        self.node = Node(self._path, self.loop, self.clock)
        if hasattr(self.node.keeper, "begin"):
            self.node.round("begin")

    def _copy_database(self, a: int, b: int) -> bool:
        if not self.profile.restores or len(self._copies) >= 4:
            return False
        self._copies.append(self.node.store.eyes.serialize())
        return True

    def _restore_database(self, a: int, b: int) -> bool:
        if not self._copies or b % 2:
            return False
        self._restart(self._pick(self._copies, a))
        self.ledger.restored(self.node.store.eyes)
        for phone in self.phones.values():
            phone.server_lost_memory = True
        return True

    ACTS: ClassVar[dict[str, tuple[Callable[["World", int, int], bool], int]]] = {
        "write": (_write, 16),
        "work": (_work, 14),
        "bustle": (_bustle, 16),
        "look": (_look, 3),
        "change roster": (_change_roster, 2),
        "dial": (_dial, 8),
        "cut": (_cut, 2),
        "server reads": (_server_reads, 22),
        "phone reads": (_phone_reads, 22),
        "phone dies": (_phone_dies, 1),
        "back up phone": (_back_up_phone, 1),
        "restore phone": (_restore_phone, 1),
        "fetch": (_fetch, 3),
        "post": (_post, 2),
        "answer call": (_answer_call, 14),
        "commit": (_commit, 22),
        "answer reads": (_answer_reads, 22),
        "ring": (_ring, 8),
        "time passes": (_time_passes, 5),
        "round": (_round, 4),
        "clock steps": (_clock_steps, 1),
        "crash": (_crash, 1),
        "copy database": (_copy_database, 1),
        "restore database": (_restore_database, 1),
    }
    """Every kind of step, and how often it is tried."""

    # --- the end ----------------------------------------------------------------------------------

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


@contextmanager
def _shrunk(values: dict[str, int]) -> Iterator[None]:
    """Small limits, and calls that are believed to be who they say they are from."""
    with ExitStack() as changes:
        for name, value in values.items():
            changes.enter_context(patch.object(limits, name, value))
        for module in (mailbox_http, devices_http):
            changes.enter_context(patch.object(module, "signed", signed))
        yield


@contextmanager
def _quiet(faults: list[str]) -> Iterator[None]:
    """No log is written; what the server calls a mistake of its own becomes a fault."""

    def note(_: Any, method: str, event: Any) -> Any:
        if method == "exception" or event.get("event") == "frame failed":
            faults.append(f"{event.get('event')}: {event.get('exc_info')}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[note], wrapper_class=structlog.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)


__all__ = ["Broken", "Profile", "ServerFault", "Step", "World"]
