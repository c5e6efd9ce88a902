"""The gate for faults that only real processes show: each is found by the play that it names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from miss_client import ClientError
from tests.crash.killers import KILLERS, Ground
from tests.crash.stage import Base
from tests.mutation.played import PlayedFault
from tests.mutation.played_faults import PLAYED
from tests.support.forks import Forks

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("fault", PLAYED, ids=lambda fault: fault.name)
async def test_the_fault_is_found(
    fault: PlayedFault,
    base: Base,
    lived_in: Path,
    forks: Forks,
    tmp_path: Path,
    record_property: Callable[[str, str], None],
) -> None:
    with pytest.raises((AssertionError, ClientError)) as found:
        await KILLERS[fault.killed_by](Ground(base, lived_in, forks, tmp_path, fault.name))
    assert fault.saying in str(found.value)
    record_property("fault found", f"{fault.name}: {fault.killed_by}")
