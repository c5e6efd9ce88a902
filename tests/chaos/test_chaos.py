"""Faults of a service in their short form: what is promised holds on several nodes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import older
from tests.chaos.catalogue import FAULTS
from tests.chaos.stage import Fault, broken, run
from tests.mutation.chaos_faults import TROUBLED
from tests.mutation.played import PlayedFault


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.in_tests], ids=lambda fault: fault.name
)
async def test_fault(fault: Fault, tmp_path: Path) -> None:
    verdict = await run(fault, 1, tmp_path, short=True)
    assert verdict.messages > 0
    assert verdict.holds, str(verdict)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mistake", TROUBLED, ids=lambda mistake: mistake.name)
async def test_a_mistake_that_only_trouble_shows_is_found(
    mistake: PlayedFault, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    [fault] = [fault for fault in FAULTS if fault.name == mistake.killed_by]
    verdict = await run(broken(fault, mistake.name), 1, tmp_path, short=True)
    assert not verdict.holds
    assert mistake.saying in str(verdict)
    record_property("fault found", f"{mistake.name}: {fault.name}")


async def test_a_clone_without_the_older_version_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older, "COMMIT", "0" * 40)
    with pytest.raises(older.TooShallow, match="git fetch --unshallow"):
        await older.exported(tmp_path / "older")
