"""Each fault that needs root, in its short form: what is promised holds under load."""

from pathlib import Path

import pytest

from tests.load.catalogue import ROOT_FAULTS
from tests.load.stage import Fault, run


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ROOT_FAULTS, ids=lambda fault: fault.name)
async def test_fault(fault: Fault, tmp_path: Path) -> None:
    verdict = await run(fault, 1, tmp_path, short=True)
    assert verdict.messages > 0
    assert verdict.holds, str(verdict)
