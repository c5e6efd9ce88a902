"""What names a fault that only a whole play or service shows, not one test beside it."""

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack


@dataclasses.dataclass(frozen=True)
class PlayedFault:
    """A mistake, the play or the fault of a service that must find it, and a part of what that says."""

    put_in: Callable[[ExitStack], None]
    killed_by: str
    saying: str

    @property
    def name(self) -> str:
        """The mistake's name."""
        return self.put_in.__name__.replace("_", " ")
