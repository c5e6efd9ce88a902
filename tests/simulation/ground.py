"""What a simulated world stands on: its people, one server process, a network of queues."""

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
from starlette.responses import Response

from miss_protocol import api, limits
from miss_protocol import frames as f
from miss_protocol.identity import roster as rosters
from miss_protocol.ids import DeviceId
from miss_server.http import devices as devices_http
from miss_server.http import mailbox as mailbox_http
from miss_server.http import prekeys as prekeys_http
from miss_server.storage import epoch_ids
from tests.simulation.cast import NOW, Member, cast, folder
from tests.simulation.disk import Disk
from tests.simulation.homes import MakeHome, SqliteHome
from tests.simulation.ledger import Broken, Ledger
from tests.simulation.loop import VirtualLoop
from tests.simulation.node import Call, Node, VirtualClock, Wire, signed
from tests.simulation.phone import Dies, Phone
from tests.simulation.prekeys import HandedOut
from tests.simulation.storage import Fate

SHRUNK = {
    "WINDOW_START": 1500,
    "WINDOW_MIN": 600,
    "SENDS_IN_FLIGHT_MAX": 3,
    "PREKEYS_UPLOADED": 4,
    "PREKEYS_REFILL_AT": 2,
}
"""Limits made small, so that a few messages reach them."""
SMALL_MAILBOX = {"MAILBOX_ROWS_MAX": 5}
TTLS = (limits.TTL_MIN, 900, 3600, 24 * 3600)
WAITS = (0.1, 0.5, 1.0, 3.0, 12.0, 70.0, 600.0, 3600.0)
STEPS_OF_CLOCK = (0, 0, 200_000, -200_000, 3_600_000, -3_600_000)
FATES = (
    *(Fate.WELL,) * 44,
    Fate.REFUSED,
    Fate.UNKNOWN,
    Fate.CRASH_INSIDE,
    Fate.CRASH_AFTER,
    Fate.CRASH_BEFORE_WITNESS,
)
DEATHS = (*(Dies.NOT,) * 29, Dies.BEFORE_SAVING, Dies.BETWEEN, Dies.AFTER_SAVING)


@dataclass(frozen=True)
class Profile:
    """Which troubles a world has beside cuts, crashes and lost rings."""

    small_mailbox: bool = False
    restores: bool = False
    """The database may be put back to an older copy."""
    old_phones: bool = False
    """A device may be put back to an older copy."""
    clock_steps: bool = False
    deaf: bool = False
    """No ring is ever heard, also while it heals: only the sweep finds what waits."""
    hands_over: bool = False
    """A connection takes what this node has just committed; else it is as if another node had."""
    SEEDS: ClassVar[int] = 60
    """Seeds that differ by this have the same troubles."""

    @classmethod
    def of(cls, seed: int) -> "Profile":
        """One for each number; restores and old phones never together, for then nobody knows."""
        return cls(
            small_mailbox=seed % 4 == 1,
            restores=seed % 3 == 1,
            old_phones=seed % 3 == 2,
            clock_steps=seed % 5 == 1,
            deaf=seed % 2 == 1,
            hands_over=seed % 4 < 2,
        )


@dataclass
class Pending:
    """An HTTP call on its way, and what to do with its answer."""

    call: Call
    phone: Phone
    life: int
    body: bytes
    told: Callable[[bytes], None]
    locks: bool = False


class Ground:
    """Everything that exists, and the moves that several steps share."""

    def __init__(self, profile: Profile, make_home: MakeHome = SqliteHome) -> None:
        self.profile = profile
        self.cast = cast()
        self._folder = Path(tempfile.mkdtemp(prefix="miss-", dir=folder()))
        self._home = make_home(self._folder)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.phones: dict[bytes, Phone] = {}
        self.sockets: list[Wire] = []
        self.calls: list[Pending] = []
        self.ledger = Ledger(self.phones)
        self.messages = 0
        self.faults: list[str] = []
        self.handed_out = HandedOut()
        self.history: list[str] = []
        """What the server said, in order, and what each device has at the end."""
        self._copies: list[tuple[Any, bytes]] = []
        """The database and its witness."""
        self._backups: dict[bytes, Disk] = {}
        self._shrunk = _shrunk(SHRUNK | (SMALL_MAILBOX if profile.small_mailbox else {}))
        self._quiet = _quiet(self.faults)
        self.node = self._new_node()

    def _new_node(self) -> Node:
        store = self._home.open(self.loop, self.clock.now_ms())
        return Node(store, self.loop, self.clock, hands_over=self.profile.hands_over)

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

    def _locked(self, phone: Phone) -> bool:
        """Whether the device's other process holds the store."""
        return any(p.phone is phone and p.locks and p.life == phone.life for p in self.calls)

    def _connect(self, phone: Phone) -> None:
        phone.admitted = True
        socket = Wire(phone.id)
        socket.on_word = self._said
        phone.dial(socket)
        self.sockets = [s for s in self.sockets if not (s.server_gone and s.client_gone)]
        self.sockets.append(socket)
        self.node.open(socket)

    def _said(self, device: DeviceId, frame: f.ServerFrame) -> None:
        self.history.append(f"{device.hex()[:4]} hears {_undrawn(frame)}")
        try:
            self.ledger.said(device, frame, self.node.store.eyes)
        except Broken as broken:
            self.faults.append(str(broken))

    def _begin_call(
        self,
        handler: Callable[[Any], Any],
        phone: Phone,
        body: object,
        told: Callable[[bytes], None],
        locks: bool = False,
        **more: Any,
    ) -> None:
        sent = msgspec.json.encode(body)
        call = self.node.call(handler, phone.id, sent, **more)
        self.calls.append(Pending(call, phone, phone.life, sent, told, locks))

    def _propose(self, phone: Phone, roster: rosters.Roster, certificate: bytes = b"") -> None:
        self._begin_call(
            devices_http.change_roster,
            phone,
            api.RosterProposed(roster.encode(), certificate),
            lambda _: self._accepted(phone, roster),
        )

    @staticmethod
    def _accepted(phone: Phone, roster: rosters.Roster) -> None:
        known = phone.disk.rosters.get(roster.account)
        if known is None or known.version < roster.version:
            phone.learn(roster)

    def _upload(self, phone: Phone, upload: api.PrekeysUploaded) -> None:
        self._begin_call(prekeys_http.upload, phone, upload, lambda _: phone.uploaded(upload))

    async def _claimed(self, request: Any) -> Response:
        doubtful = self.handed_out.is_doubtful(self.node.store.eyes)
        answer = await prekeys_http.claim(request)
        claimed = msgspec.json.decode(bytes(answer.body), type=api.Prekeys)
        self.faults.extend(self.handed_out.answered(claimed, doubtful=doubtful))
        return answer

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

    def _is_revoked(self, phone: Phone) -> bool:
        row = self.node.store.eyes.execute(
            "SELECT revoked_ms FROM devices WHERE id = ?", (phone.id,)
        ).fetchone()
        return row is not None and row[0] is not None

    def _loop_settled(self) -> None:
        self._settle()

    def _look_for_new_devices(self) -> None:
        for (device,) in self.node.store.eyes.execute("SELECT id FROM devices"):
            if device not in self.phones:
                self._meet(self.cast.member(device))
                self.phones[device].server_lost_memory = self.ledger.restores > 0
                self.phones[device].want(self.phones[device].account)

    def _restart(self, database: Any = None, witness: bytes | None = None) -> None:
        for socket in self.sockets:
            socket.dead = socket.server_gone = True
        self.node.die()
        self.loop.faults.clear()  # of tasks that died half-way
        self.faults.clear()
        for phone in self.phones.values():
            phone.hang_up()
        self.sockets.clear()
        if database is not None:
            self._home.put_back(database)
        if witness is not None:
            self._home.witness.write_bytes(witness)
        self.node = self._new_node()
        if hasattr(self.node.keeper, "begin"):
            self.node.round("begin")


def _undrawn(frame: f.ServerFrame) -> f.ServerFrame:
    """A frame without what a server draws anew in each run."""
    if isinstance(frame, f.Challenge):
        return msgspec.structs.replace(frame, nonce=b"")
    if isinstance(frame, f.Welcome):
        return msgspec.structs.replace(frame, epoch=b"%d" % epoch_ids.number(frame.epoch))
    return frame


@contextmanager
def _shrunk(values: dict[str, int]) -> Iterator[None]:
    """Small limits, and calls that are believed to be who they say they are from."""
    with ExitStack() as changes:
        for name, value in values.items():
            changes.enter_context(patch.object(limits, name, value))
        for module in (mailbox_http, devices_http, prekeys_http):
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
