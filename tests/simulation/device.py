"""What every part of a model device works with: its disk, its connection, its user's last word."""

import random
from collections.abc import Callable

from miss_protocol import frames as f
from miss_protocol.client_session import ClientSession
from miss_protocol.codec import client_codec
from miss_protocol.identity.receipts import Receipt
from miss_protocol.identity.roster import Roster
from miss_protocol.ids import AccountAddress, DeviceId
from tests.simulation.cast import Cast, Member
from tests.simulation.disk import Disk
from tests.simulation.node import Wire


class ServerFault(AssertionError):
    """The server did what an honest client must take for a broken or lying server."""


class Device:
    """One device. `over` says why it may not be used any more."""

    def __init__(self, member: Member, cast: Cast, now_ms: Callable[[], int], seed: int) -> None:
        self.member = member
        self._cast = cast
        self._now_ms = now_ms
        self._random = random.Random(seed)
        self.disk = Disk()
        self.over = ""
        self.on_shown: Callable[[bytes, bytes], None] = lambda sender, id: None
        """For the ledger: called with the sender device and the signed id of what is shown."""
        self.sends: dict[bytes, f.Send] = {}
        """For the ledger: every send by its id."""
        self.safe: set[bytes] = set()
        """For the ledger: the hash of every row that was ever saved here."""
        self.life = 0
        """Which start of its process this is: an answer to an earlier one is heard by nobody."""
        self.server_lost_memory = False
        """Whether the database was ever put back."""
        self.is_copy = False
        """Its disk was put back to an older copy: the server must find it out."""
        self.unsigned = 0
        """Statuses that called a message delivered without its receipt."""
        self.admitted = True
        """False while the server does not know this device: a restored one may yet learn of it."""
        self.wake()

    def wake(self) -> None:
        """The process starts: everything but the disk is gone."""
        self.life += 1
        self.socket: Wire | None = None
        self.session = ClientSession(client_codec(), position=0, digest=bytes(32))
        self.welcomed = False
        self._greeted_sn = 0
        self.held_until = 0
        self.one_by_one = False
        self.wanted: list[AccountAddress] = []
        self.lost_rosters: list[Roster] = []
        self.fetched_tick: int | None = None
        self._on_their_way: dict[int, tuple[list[Receipt], list[f.Nack]]] = {}
        self._next_ref = 1

    @property
    def id(self) -> DeviceId:
        """The device's id."""
        return self.member.id

    @property
    def account(self) -> AccountAddress:
        """Whose device it is."""
        return self.member.account

    @property
    def progress(self) -> tuple[object, ...]:
        """Changes with everything that brings this device nearer to rest."""
        disk = self.disk
        states = [o.state for some in disk.outcomes.values() for o in some.values()]
        counts = (disk.position, disk.epoch, disk.sn, disk.settled, len(disk.shown))
        return (*counts, len(disk.drafts), len(disk.entries), len(disk.owed), states, self.over)

    def learn(self, roster: Roster) -> None:
        """Keep a verified roster."""
        self.disk.rosters[roster.account] = roster
        if roster.account == self.account:
            self.disk.chain[roster.version] = roster

    def end(self, why: str) -> None:
        """The user is told that this device is over."""
        self.hang_up()
        self.over = why

    def hang_up(self) -> None:
        """This end of the connection is gone; what was sent may still arrive."""
        if self.socket is not None:
            self.socket.client_gone = True
            self.socket.down.clear()
        self.socket = None
        self.welcomed = False
        self.session.closed()

    def flush(self) -> None:
        """Write what is due."""
        if self.socket is not None:
            self.socket.up.extend(self.session.data_to_send())

    @property
    def _own_version(self) -> int:
        own = self.disk.rosters.get(self.account)
        return own.version if own is not None else 0

    def want(self, account: AccountAddress) -> None:
        """A roster is to be fetched."""
        if account not in self.wanted:
            self.wanted.append(account)
