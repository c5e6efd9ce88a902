"""All faults that are played under load, in the order of the table."""

from tests.load import faults, floods, links, system
from tests.load.stage import Fault

FAULTS: tuple[Fault, ...] = (*faults.FAULTS, *links.FAULTS, *floods.FAULTS)
"""Those that need no root."""
ROOT_FAULTS: tuple[Fault, ...] = system.FAULTS
