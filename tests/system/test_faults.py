"""Each fault that needs root, in its short form: what is promised holds under load."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import stage as service_stage
from tests.chaos.catalogue import ROOT_FAULTS as ROOT_FAULTS_OF_A_SERVICE
from tests.load.catalogue import ROOT_FAULTS
from tests.load.stage import Fault, run
from tests.load.system import lying_disk
from tests.mutation.chaos_faults import TROUBLED_ROOT
from tests.mutation.played import PlayedFault


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ROOT_FAULTS, ids=lambda fault: fault.name)
async def test_fault(fault: Fault, tmp_path: Path) -> None:
    verdict = await run(fault, 1, tmp_path, short=True)
    assert verdict.messages > 0
    assert verdict.holds, str(verdict)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ROOT_FAULTS_OF_A_SERVICE, ids=lambda fault: fault.name)
async def test_fault_of_a_service(fault: service_stage.Fault, tmp_path: Path) -> None:
    verdict = await service_stage.run(fault, 1, tmp_path, short=True)
    assert verdict.messages > 0
    assert verdict.holds, str(verdict)


@pytest.mark.timeout(400)
async def test_a_server_that_does_not_wait_for_its_disk_is_found(tmp_path: Path) -> None:
    [cut] = [fault for fault in ROOT_FAULTS if fault.name == "power cut"]
    verdict = await run(replace(cut, ground=lying_disk), 1, tmp_path, short=True)
    assert verdict.faults == ["the server was taken for an older copy"]
    assert not verdict.holds


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mistake", TROUBLED_ROOT, ids=lambda mistake: mistake.name)
async def test_a_mistake_that_only_trouble_shows_is_found(
    mistake: PlayedFault, tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    [fault] = [fault for fault in ROOT_FAULTS_OF_A_SERVICE if fault.name == mistake.killed_by]
    broken = service_stage.broken(fault, mistake.name)
    verdict = await service_stage.run(broken, 1, tmp_path, short=True)
    assert not verdict.holds
    assert mistake.saying in str(verdict)
    record_property("fault found", f"{mistake.name}: {fault.name}")
