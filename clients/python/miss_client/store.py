"""One device's state in one SQLite file: sealed rows, whole transactions, one process at a time.

Every row is sealed with the store's key (`crypto.at_rest`); its name is a keyed hash, so the file
tells neither what is in it nor whom its owner writes to, only how much there is. The key comes from
a passphrase (Argon2id), or, if none is given, from a key file beside the store that only its owner
may read: then whoever takes both files can read everything.

A transaction is durable when it returns (WAL, synchronous=FULL). The file stays locked while the
store is open: two processes that advance one ratchet would use a key twice.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from miss_client.clock import Random
from miss_client.errors import ClientError, Trouble
from miss_protocol.crypto import at_rest
from miss_protocol.errors import Undecryptable

FORMAT = 1
"""Raised when the meaning of what is stored changes; newer formats are refused, older upgraded."""
NAME_BYTES = 16
_CHECK = b"MiSS store"

_SCHEMA = """
CREATE TABLE plain (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE sealed (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    shelf TEXT NOT NULL,
    name BLOB NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (shelf, name)
) STRICT;
"""

T = TypeVar("T")


class Store:
    """An open store. Make one with `Store.create` or `Store.open`; close it when done.

    All writing happens inside `with store.transaction():`. Not for several threads.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, key: bytes, random: Random) -> None:
        self.path = path
        self._db = db
        self._key = key
        self._names_key = blake2b(key, digest_size=32, person=b"MiSS1 names").digest()
        self._random = random
        self._writing = False

    # --- opening ----------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: Path, *, passphrase: str | None = None, random: Random = os.urandom
    ) -> "Store":
        """Make a new store and lock it.

        Args:
            passphrase: what its owner types at each start. Without one a key file `PATH.key` is
                made, mode 0600: as safe as the account on this machine, no safer.

        Raises:
            ClientError: store_exists, store_locked, store_failed.
        """
        with _files():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            os.fchmod(handle, 0o600)  # if somebody had made it, open to all
            os.close(handle)
        db = _connect(path)
        try:
            if not _blank(db):
                raise ClientError(Trouble.STORE_EXISTS, path.name)
            salt = random(at_rest.SALT_BYTES) if passphrase is not None else b""
            if passphrase is not None:
                key = at_rest.derive_key(passphrase, salt)
            else:
                key = random(at_rest.KEY_BYTES)
                with _files():
                    _write_private(key_file_of(path), key)
            with _told(), _transaction(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                check = at_rest.seal_blob(key, "check", _CHECK, random)
                db.executemany(
                    "INSERT INTO plain VALUES (?, ?)",
                    [("format", bytes([FORMAT])), ("salt", salt), ("check", check)],
                )
        except ClientError:
            db.close()
            raise
        return cls(path, db, key, random)

    @classmethod
    def open(
        cls, path: Path, *, passphrase: str | None = None, random: Random = os.urandom
    ) -> "Store":
        """Open and lock an existing store.

        Raises:
            ClientError: store_missing, store_locked, store_key (wrong passphrase, or its key file
                is missing), store_corrupt, store_newer.
        """
        if not path.exists():
            raise ClientError(Trouble.STORE_MISSING, path.name)
        db = _connect(path)
        try:
            if _blank(db):
                # Its making was cut short before anything was in it.
                raise ClientError(Trouble.STORE_MISSING, path.name)
            with _told():
                plain = dict(db.execute("SELECT name, value FROM plain").fetchall())
                intact = db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
            if not intact or plain.keys() < {"format", "salt", "check"}:
                raise ClientError(Trouble.STORE_CORRUPT)
            if plain["format"] > bytes([FORMAT]):
                raise ClientError(Trouble.STORE_NEWER)
            key = _key(path, passphrase, plain["salt"])
            try:
                at_rest.open_blob(key, "check", plain["check"])
            except Undecryptable:
                raise ClientError(Trouble.STORE_KEY) from None
        except ClientError:
            db.close()
            raise
        return cls(path, db, key, random)

    @staticmethod
    def wants_passphrase(path: Path) -> bool:
        """Whether a store is sealed with a passphrase: it has no key file."""
        return path.exists() and not key_file_of(path).exists()

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._db.close()

    # --- transactions -----------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing. Durable when left without an exception; an inner one joins the
        outer one.

        Raises:
            ClientError: store_failed, store_corrupt. What was cached of this transaction must be
                thrown away then.
        """
        if self._writing:
            yield
            return
        with _told():
            self._db.execute("BEGIN IMMEDIATE")
            self._writing = True
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._writing = False

    # --- rows (used by Shelf) ---------------------------------------------------------------------

    def put(self, shelf: str, name: bytes, data: bytes) -> None:
        """Write a row inside a transaction; an existing one keeps its place."""
        if not self._writing:
            raise RuntimeError("write inside store.transaction()")
        hashed = self._hashed(shelf, name)
        # The row carries its own name, so that it can be listed.
        blob = len(name).to_bytes(2, "big") + name + data
        sealed = at_rest.seal_blob(self._key, shelf + hashed.hex(), blob, self._random)
        self._db.execute(
            "INSERT INTO sealed (shelf, name, data) VALUES (?, ?, ?)"
            " ON CONFLICT (shelf, name) DO UPDATE SET data = excluded.data",
            (shelf, hashed, sealed),
        )

    def delete(self, shelf: str, name: bytes) -> None:
        """Remove a row, if it is there, inside a transaction."""
        if not self._writing:
            raise RuntimeError("write inside store.transaction()")
        self._db.execute(
            "DELETE FROM sealed WHERE shelf = ? AND name = ?", (shelf, self._hashed(shelf, name))
        )

    def get(self, shelf: str, name: bytes) -> bytes | None:
        """Read a row.

        Raises:
            ClientError: store_corrupt.
        """
        hashed = self._hashed(shelf, name)
        with _told():
            row = self._db.execute(
                "SELECT data FROM sealed WHERE shelf = ? AND name = ?", (shelf, hashed)
            ).fetchone()
        return None if row is None else self._unsealed(shelf, hashed, row[0])[1]

    def rows(self, shelf: str, *, newest: int | None = None) -> list[tuple[bytes, bytes]]:
        """Names and data of a shelf in the order in which they were first put.

        Args:
            newest: only so many of the last ones.
        """
        with _told():
            found = self._db.execute(
                "SELECT name, data FROM sealed WHERE shelf = ? ORDER BY seq DESC LIMIT ?",
                (shelf, -1 if newest is None else newest),
            ).fetchall()
        return [self._unsealed(shelf, hashed, data) for hashed, data in reversed(found)]

    def _unsealed(self, shelf: str, hashed: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        try:
            blob = at_rest.open_blob(self._key, shelf + hashed.hex(), sealed)
        except Undecryptable:
            raise ClientError(Trouble.STORE_CORRUPT, shelf) from None
        end = 2 + int.from_bytes(blob[:2], "big")
        return blob[2:end], blob[end:]

    def _hashed(self, shelf: str, name: bytes) -> bytes:
        return blake2b(
            shelf.encode() + b"\0" + name, digest_size=NAME_BYTES, key=self._names_key
        ).digest()


class Shelf(Generic[T]):
    """The rows of one kind, as structs of `miss_client.records`."""

    def __init__(self, store: Store, name: str, kind: type[T]) -> None:
        self._store = store
        self._name = name
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(kind)

    def put(self, name: bytes, row: T) -> None:
        """Write a row inside a transaction."""
        self._store.put(self._name, name, self._encode(row))

    def delete(self, name: bytes) -> None:
        """Remove a row inside a transaction."""
        self._store.delete(self._name, name)

    def clear(self) -> None:
        """Remove all rows inside a transaction."""
        for name, _ in self._store.rows(self._name):
            self._store.delete(self._name, name)

    def get(self, name: bytes) -> T | None:
        """Read a row."""
        data = self._store.get(self._name, name)
        return None if data is None else self._read(data)

    def items(self, *, newest: int | None = None) -> list[tuple[bytes, T]]:
        """All rows (or the newest ones) in the order in which they were first put."""
        return [
            (name, self._read(data)) for name, data in self._store.rows(self._name, newest=newest)
        ]

    def all(self, *, newest: int | None = None) -> list[T]:
        """As `items`, without the names."""
        return [row for _, row in self.items(newest=newest)]

    def _read(self, data: bytes) -> T:
        try:
            return self._decoder.decode(data)
        except msgspec.MsgspecError:
            raise ClientError(Trouble.STORE_CORRUPT, self._name) from None


def key_file_of(path: Path) -> Path:
    """Where the key of a store without a passphrase is."""
    return path.with_name(path.name + ".key")


def _key(path: Path, passphrase: str | None, salt: bytes) -> bytes:
    if salt:
        if passphrase is None:
            raise ClientError(Trouble.STORE_KEY, "a passphrase is needed")
        return at_rest.derive_key(passphrase, salt)
    try:
        key = key_file_of(path).read_bytes()
    except OSError:
        raise ClientError(Trouble.STORE_KEY, "the key file cannot be read") from None
    if len(key) != at_rest.KEY_BYTES:
        raise ClientError(Trouble.STORE_KEY, "not a key file")
    return key


def _write_private(path: Path, data: bytes) -> None:
    # Always a new file: one that lay there could be readable by others, or lead elsewhere.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _connect(path: Path) -> sqlite3.Connection:
    """Connect and take the lock; it goes with the process, however that ends."""
    db = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        with _told():
            # The order matters: exclusive before WAL keeps the index of the log in memory.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
    except ClientError:
        db.close()
        raise
    return db


def _blank(db: sqlite3.Connection) -> bool:
    with _told():
        return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


@contextmanager
def _files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ClientError(Trouble.STORE_FAILED, type(error).__name__) from None


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    yield
    db.execute("COMMIT")


_NO_DISK = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
)


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong with the file in this package's terms."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ClientError(Trouble.STORE_LOCKED, name) from None
        if code in _NO_DISK:
            raise ClientError(Trouble.STORE_FAILED, name) from None
        raise ClientError(Trouble.STORE_CORRUPT, name) from None
