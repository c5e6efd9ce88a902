"""The interface of the doorbell."""

from collections.abc import Callable, Collection
from typing import Protocol

from miss_protocol.ids import DeviceId

Listener = Callable[[Collection[DeviceId]], None]


class Doorbell(Protocol):
    """Tells every node that devices have something new.

    At most once, in any order, possibly late, possibly never. It carries no content. Rings happen
    after the commit they speak of, never inside its transaction (rule C8).
    """

    def listen(self, listener: Listener) -> None:
        """Call `listener`, in the event loop, with the devices of each ring."""
        ...

    def ring(self, devices: Collection[DeviceId]) -> None:
        """Announce; returns at once and never raises."""
        ...
