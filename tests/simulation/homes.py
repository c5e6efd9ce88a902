"""Where a world's database lives, on either engine: made anew, copied, put back, looked into."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.simulation.cast import cast
from tests.simulation.loop import VirtualLoop
from tests.simulation.storage import SteppedStore


class Eyes(Protocol):
    """Sees what is committed, like any reader."""

    def execute(self, statement: str, values: Any = (), /) -> Any: ...


class Home(Protocol):
    """The database of one world, and the witness beside it. Copies are worth something to it alone."""

    @property
    def witness(self) -> Path: ...

    def open(self, loop: VirtualLoop, now_ms: int) -> Any:
        """A process begins: the store, which has compared the database with its witness."""
        ...

    def copy(self, store: Any) -> Any:
        """The database as it is now."""
        ...

    def put_back(self, copy: Any) -> None:
        """Nothing is in the database but the copy; no process has it open."""
        ...


MakeHome = Callable[[Path], Home]
"""Makes a home with the cast in it, in a folder."""


class SqliteHome:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "miss.sqlite"
        self.witness = self._path.with_name(self._path.name + ".witness")
        self._path.write_bytes(cast().database)

    def open(self, loop: VirtualLoop, now_ms: int) -> SteppedStore:
        store = SteppedStore(self._path, loop)
        store.begin_life(now_ms=now_ms)
        return store

    def copy(self, store: SteppedStore) -> bytes:
        return store.eyes.serialize()

    def put_back(self, copy: bytes) -> None:
        for beside in set(self._path.parent.iterdir()) - {self.witness}:
            beside.unlink()
        self._path.write_bytes(copy)
