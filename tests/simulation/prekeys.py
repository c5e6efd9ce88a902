"""One-time prekeys in a world: devices leave them, others claim them, and none goes out twice (I11).

Only the public halves matter here. What a server hands out counts when its answer leaves, whether or
not it arrives: from then on somebody may use it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from miss_protocol import api, limits
from miss_protocol.identity import prekeys
from miss_protocol.identity.prekeys import XWING_PUBLIC_BYTES
from miss_protocol.ids import DeviceId
from tests.simulation.device import Device
from tests.simulation.homes import Eyes


class Keeping(Device):
    """What `miss_client.upkeep` does for prekeys: saved, uploaded, uploaded again, made anew."""

    def _refill(self, left: int, *, restored: bool) -> None:
        """A welcome told how many are left. After a restore none is."""
        disk = self.disk
        if restored:
            disk.upload, disk.latest, disk.last_resort_owed = None, None, True
        if disk.upload is None and (left < limits.PREKEYS_REFILL_AT or disk.last_resort_owed):
            wanted = max(0, limits.PREKEYS_UPLOADED - left)
            ids = range(disk.prekey_id + 1, disk.prekey_id + wanted + 1)
            disk.prekey_id += wanted + 1
            keys = [
                *(self._key(number) for number in ids),
                self._key(disk.prekey_id, last_resort=True),
            ]
            disk.upload = api.PrekeysUploaded(tuple(key.encode() for key in keys), disk.epoch)
            disk.latest = disk.upload

    def _key(self, number: int, *, last_resort: bool = False) -> prekeys.SignedPrekey:
        otk = blake2b(self.id + number.to_bytes(8, "big"), digest_size=31).digest() + b"\x01"
        pq = otk * (XWING_PUBLIC_BYTES // len(otk))
        return prekeys.issue(self.member.key, self.id, number, otk, pq, last_resort=last_resort)

    def uploaded(self, upload: api.PrekeysUploaded) -> None:
        """The server has them."""
        if self.disk.upload == upload:
            self.disk.upload, self.disk.last_resort_owed = None, False

    def outdated(self, upload: api.PrekeysUploaded) -> None:
        """The server refuses them; the next welcome tells how many are left."""
        if self.disk.upload == upload:
            self.disk.upload = None


def _epoch(eyes: Eyes) -> bytes:
    epoch: bytes = eyes.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchone()[0]
    return epoch


@dataclass
class HandedOut:
    """Every prekey that ever left a server, over all restores."""

    once: set[tuple[bytes, int]] = field(default_factory=set)
    """(device, id) of one-time prekeys."""
    unwitnessed: bool = False
    """The witness was put back with the database: until a new epoch nobody can know (spec 07 §2)."""
    _copied: set[bytes] = field(default_factory=set)
    """Epochs of copies: a database in one of these may be a copy that an older witness let pass."""

    def copied(self, eyes: Eyes) -> None:
        """A copy of the database was made."""
        self.is_doubtful(eyes)
        self._copied.add(_epoch(eyes))

    def is_doubtful(self, eyes: Eyes) -> bool:
        """Whether a claim that begins now may be given what was given before."""
        self.unwitnessed = self.unwitnessed and _epoch(eyes) in self._copied
        return self.unwitnessed

    def answered(self, claimed: api.Prekeys, *, doubtful: bool) -> Iterable[str]:
        """A claim's answer leaves; yields what is wrong with it."""
        for one in claimed.prekeys:
            key = prekeys.decode(one.prekey)
            if key.last_resort:
                continue
            name = (DeviceId(one.device), key.id)
            if name in self.once and not doubtful:
                yield f"I11 prekey {key.id} of a device was handed out twice"
            self.once.add(name)
