"""An import's processes: the same outcome as without, and what becomes of it when one ends."""

import os
import signal
from pathlib import Path

import pytest

from miss_server.importers.importing import run_import
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from miss_server.storage.directory import Record
from miss_server.working import Crew, Worker
from tests.server.importers.test_importing import NOW, Kept
from tests.support import register, sources
from tests.support.register import activity, rpps
from tests.support.sources import establishment, finess, mailbox


def edition(folder: Path) -> list[Path]:
    people = [activity(n % 900, city=f"Ville {n % 40}") for n in range(2500)]
    letters = [
        mailbox(
            "PER",
            f"p{n}@x.mssante.fr",
            national="8" + rpps(n),
            name="AUTRE" if n % 50 == 0 else f"NOM{n}",
        )
        for n in range(400)
    ]
    return [
        register.write(folder / register.STAMPED, *people),
        sources.write_skills(folder / "savoir_faire_20260105.txt", (1, "SM04", "Cardiologie")),
        sources.write_mailboxes(folder / sources.MAILBOX_STAMPED, *letters),
        sources.write_establishments(
            folder / sources.ESTABLISHMENTS, establishment(finess(1), "CH FICTIF")
        ),
    ]


def test_processes_make_the_same_directory(tmp_path: Path) -> None:
    files = edition(tmp_path)
    alone, together = Kept(), Kept()
    reports = []
    for kept, processes in ((alone, 0), (together, 2)):
        texts = [text for path in files for text in readers(path)]
        told: list[float] = []
        reports.append(
            run_import(
                texts,
                kept,
                now_ms=NOW,
                processes=processes,
                progress=lambda text, share, told=told: told.append(share),  # type: ignore[misc]
            )
        )
        assert all(0 <= share <= 1 for share in told)
    assert reports[0] == reports[1]
    assert reports[0].conflict_count == 8
    assert sorted_words(alone) == sorted_words(together)
    assert list(alone.in_force) == list(together.in_force)
    assert alone.memory == together.memory


def sorted_words(kept: Kept) -> list[Record]:
    """Words are a set: each process has its own order of them."""
    return [
        one._replace(words=" ".join(sorted(one.words.split()))) for one in kept.in_force.values()
    ]


def test_what_a_process_refuses_the_import_refuses(tmp_path: Path) -> None:
    files = edition(tmp_path)
    with files[2].open("a") as file:
        file.write("PER|cut")
    texts = [text for path in files for text in readers(path)]
    with pytest.raises(ImportRefused) as refusal:
        run_import(texts, Kept(), now_ms=NOW, processes=2)
    assert refusal.value.code == "cut_short"
    assert str(refusal.value) == refusal.value.reason
    assert "Download" in refusal.value.advice


def test_a_file_that_is_gone_meanwhile_is_an_error_of_the_system(tmp_path: Path) -> None:
    files = edition(tmp_path)
    texts = [text for path in files for text in readers(path)]
    files[0].unlink()
    with pytest.raises(FileNotFoundError):
        run_import(texts, Kept(), now_ms=NOW, processes=2)


def echo(worker: Worker) -> None:
    for job in worker.received():
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        worker.send((job, os.getpid(), os.getppid()))


def test_jobs_are_shared_among_processes_that_end_with_it() -> None:
    with Crew(echo, 2) as crew:
        done = list(crew.mapped(iter(range(50))))
        assert sorted(job for job, _, _ in done) == list(range(50))
        assert len({pid for _, pid, _ in done}) == 2
    for _, pid, _ in done:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_is_killed_is_an_error_and_no_hang() -> None:
    with pytest.raises(ChildProcessError, match="memory"), Crew(echo, 2) as crew:
        list(crew.mapped(iter([1, "die", 2, 3, 4, 5])))


def test_a_job_for_a_process_that_is_gone_is_an_error() -> None:
    with Crew(echo, 1) as crew:
        with pytest.raises(ChildProcessError):
            list(crew.mapped(iter(["die"])))
        with pytest.raises(ChildProcessError):
            list(crew.streamed(["x" * (1 << 20)]))


def test_a_process_ends_when_nobody_reads_its_answers() -> None:
    with Crew(echo, 1) as crew:
        for _ in crew.mapped(iter(range(1000))):
            break
