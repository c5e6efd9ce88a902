"""All faults of a service, in the order of the table."""

from tests.chaos import databases, nodes, partitions
from tests.chaos.stage import Fault

FAULTS: tuple[Fault, ...] = (*nodes.FAULTS, *databases.FAULTS)
"""Those that need no root."""
ROOT_FAULTS: tuple[Fault, ...] = (*databases.ROOT_FAULTS, *partitions.ROOT_FAULTS)
