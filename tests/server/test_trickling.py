"""What is written into temporary files goes to the disk as it comes: `miss_server.trickling`."""

import ctypes
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from miss_server import trickling
from miss_server.storage.sqlite.directory_filling import BUILT_IN


def names(found: list[int]) -> list[str]:
    return [os.readlink(f"/proc/self/fd/{number}") for number in found]


def test_temporary_files_are_handed_over_and_no_others(tmp_path: Path) -> None:
    called: list[int] = []
    aside = tmp_path / f"miss.sqlite{BUILT_IN}1"
    with (
        (tmp_path / "other").open("w"),
        aside.open("w"),
        closing(sqlite3.connect("", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA cache_size = 1")
        db.execute("CREATE TABLE t AS SELECT zeroblob(100000)")
        assert trickling.hand_over(called.append) == 2
        [spilt, built] = sorted(names(called), key=lambda name: name == str(aside))
    assert Path(spilt).name.startswith("etilqs_")
    assert built == str(aside)
    assert trickling.hand_over(called.append) == 0


def test_the_kernel_takes_what_was_written_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    begin = trickling._beginner()
    assert begin is not None
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"-" * 1_000_000)
        assert begin(file.fileno()) == 0
    assert begin(-1) == -1


def test_it_looks_again_and_again_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice, calls = Event(), list[int]()

    def begin(number: int) -> None:
        calls.append(number)
        if len(calls) >= 2:
            twice.set()

    monkeypatch.setattr(trickling, "_beginner", lambda: begin)
    with (tmp_path / "a.import-1").open("w"):
        with trickling.trickling(every=0.001):
            assert twice.wait(60)
        seen = len(calls)
    assert len(calls) == seen


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trickling, "_beginner", lambda: None)
    with trickling.trickling():
        assert "miss-trickling" not in [thread.name for thread in threading.enumerate()]


def test_a_library_without_that_call_has_no_beginner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert trickling._beginner() is None
