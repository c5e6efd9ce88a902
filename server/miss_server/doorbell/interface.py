"""The interface of the doorbell."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from miss_protocol.ids import DeviceId
from miss_server.refusals import Refusal


class News(msgspec.Struct, frozen=True, gc=False):
    """What a node hears, from itself or from another.

    A hint, never a fact: who hears it asks the store, so that a lost, late, repeated or invented
    one costs a read and nothing else.
    """

    devices: Sequence[DeviceId] = ()
    """Something new waits for these."""
    sessions: Sequence[tuple[DeviceId, int]] = ()
    """A session of this generation has begun on another node; 0: the device was revoked."""
    everything: bool = False
    """Look at every connection: the epoch changed, or rings may have been lost."""


Listener = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class DoorbellState:
    """How the doorbell does, for `health` and metrics.

    `kind` is what it rings by; `since_ms` when it came up or went down; `why` says for people what
    is wrong, without secrets; `slow` that rings get through, but late. The counts are since the start: rings are devices, not messages.
    """

    kind: str
    up: bool
    since_ms: int
    why: str = ""
    slow: bool = False
    rung: int = 0
    """Devices announced to other nodes."""
    heard: int = 0
    """Devices that other nodes announced."""
    dropped: int = 0
    """Devices that could not be announced; a sweep of the other nodes finds what waits for them."""
    reconnects: int = 0


class DoorbellError(Refusal):
    """The doorbell cannot be used as it is set up; the text says what to change."""


class Doorbell(Protocol):
    """Tells every node that devices have something new.

    At most once, in any order, possibly late, possibly never. It carries no content. Rings happen
    after the commit they speak of, never inside its transaction (rule C8). What is announced in
    one pass of the event loop goes out together.

    While the way to the other nodes is down, nothing waits for it: announcements are dropped and
    counted, and when it is up again every node is told to look at everything.
    """

    def listen(self, listener: Listener) -> None:
        """Call `listener`, in the event loop, with what is heard."""
        ...

    def ring(self, devices: Collection[DeviceId]) -> None:
        """Tell every node, this one included, of devices; returns at once and never raises."""
        ...

    def began(self, device: DeviceId, generation: int) -> None:
        """Tell the other nodes that a session began here: an older one there must end."""
        ...

    def revoked(self, devices: Collection[DeviceId]) -> None:
        """Tell the other nodes that these devices may not be served any more."""
        ...

    def restored(self) -> None:
        """Tell the other nodes that the epoch changed: no connection there may go on."""
        ...

    async def start(self) -> None:
        """Connect, and go on connecting until `stop`. What cannot be reached now is not an error.

        Raises:
            DoorbellError: it was reached and refuses us, as with a missing password.
        """
        ...

    async def stop(self) -> None:
        """Say what is still to be said, briefly, and let go."""
        ...

    def state(self) -> DoorbellState:
        """How it does at this moment."""
        ...
