"""A small file beside the database that remembers how far the database had come.

A database that is put back from a backup hands out the one-time prekeys of its past once more, until
a device's hello proves that it forgot something. The witness is not put back with it, so an older
copy is noticed before anybody is served, and a new epoch voids those prekeys (I11, rule C6).

**What is counted.** `settings.witnessed` goes up, in the same transaction, with each start of a
server, each new epoch and each claim that takes a one-time prekey; nothing else needs it. The
witness holds that count and the epoch, under a MAC of the database's own secret.

**The order.** First the database commits, then the witness is written (a temporary file, fsync,
rename, fsync of the folder), then the caller is answered. A crash between leaves the database
*ahead* of its witness: that is no restore, and what the witness missed was told to nobody. The other
order would call that crash a restore. The witness is never ahead of a database that was not put
back, so one that is behind its witness always was. Only the very first witness, of a count of 0, is
written before the count goes up: from then on a missing one is a loss. Inside one epoch all copies with one count have
handed out the same prekeys; a start counts too, so that any copy from before it is behind.

**What it cannot see**: both files put back together, as by a snapshot of the whole machine. Then
only a hello tells (`sessions.begin`).
"""

import hmac
import os
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from miss_server.storage import epoch_ids

_LINE = re.compile(rb"MiSS witness 1 ([0-9a-f]{32}) ([0-9]{1,19}) [0-9a-f]{32}\n")


@dataclass(frozen=True, slots=True)
class Testimony:
    """How far a database has come: its epoch, and how often something was counted."""

    epoch: bytes
    count: int


class Damaged(Exception):
    """The file is not what this database's server wrote."""


class FsyncFailed(OSError):
    """Nobody knows what is on the disk (rule C4)."""


def is_older(database: Testimony, seen: Testimony) -> bool:
    """Whether a database is an older copy of the one that the witness saw."""
    if database.count < seen.count:
        return True
    if epoch_ids.number(database.epoch) == epoch_ids.number(seen.epoch):
        return database.epoch != seen.epoch
    return epoch_ids.number(database.epoch) < epoch_ids.number(seen.epoch)


def beside(database: Path) -> Path:
    """The witness of a database that is a file."""
    return database.with_name(database.name + ".witness")


class Witness:
    """A witness's file. `stood` is where the database stood when it was last asked."""

    def __init__(self, path: Path, secret: bytes) -> None:
        self.path = path
        self.stood: Testimony | None = None
        self._secret = secret

    def read(self) -> Testimony | None:
        """What it saw last; None if there is no such file.

        Raises:
            Damaged: cut short, changed, or another database's.
            OSError: it cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        parts = _LINE.fullmatch(content)
        if parts is None:
            raise Damaged
        seen = Testimony(bytes.fromhex(parts[1].decode()), int(parts[2]))
        if not hmac.compare_digest(content, self._line(seen)):
            raise Damaged
        return seen

    def write(self, now: Testimony) -> None:
        """Replace what it saw, on the disk when this returns.

        Raises:
            FsyncFailed: the disk failed; what is on it is not known.
            OSError: it could not be written; the file is as before.
        """
        temporary = self.path.with_name(self.path.name + ".new")
        handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            line = self._line(now)
            if os.write(handle, line) != len(line):
                raise OSError(f"{temporary}: written in part")
            _fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _fsync(folder)
        finally:
            os.close(folder)

    def _line(self, now: Testimony) -> bytes:
        said = f"MiSS witness 1 {now.epoch.hex()} {now.count}".encode()
        mac = blake2b(said, key=self._secret, digest_size=16, person=b"MiSS1 witness")
        return said + f" {mac.hexdigest()}\n".encode()


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        raise FsyncFailed(*error.args) from error
