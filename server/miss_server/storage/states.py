"""What became of a message at each recipient device, and which news replaces which (rule D5).

Order of strength: `waiting`, then the server's last words (`expired`, `undecryptable`, `refused`,
`revoked`), then the device's signed words `delivered` and `read`. Only a stronger state replaces
one: a signed `delivered` overrides `expired` (rule C5), nothing takes a signed word back.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from miss_protocol.frames import DeviceState

State = Literal["waiting", "delivered", "read", "undecryptable", "expired", "refused", "revoked"]

_STRENGTH: dict[str, int] = {
    "waiting": 0,
    "expired": 1,
    "undecryptable": 1,
    "refused": 1,
    "revoked": 1,
    "delivered": 2,
    "read": 3,
}


class RecipientState(msgspec.Struct, array_like=True, gc=False):
    """One recipient device's state, as stored. `own` marks the sender's own other devices."""

    device: bytes
    own: bool
    state: State
    at: int
    signature: bytes = b""

    def advance(self, state: State, at: int, signature: bytes = b"") -> bool:
        """Take the news if it is stronger; tells whether it was.

        The device's signed `delivered` replaces the server's own word, which says the same: it is
        the one that the sender believes (rule D4), and may come after the ack.
        """
        signs = state == self.state and bool(signature) and not self.signature
        if _STRENGTH[state] <= _STRENGTH[self.state] and not signs:
            return False
        self.state, self.at, self.signature = state, at, signature
        return True

    @property
    def worth_telling(self) -> bool:
        """Whether the sender hears of it: of its own devices only that one could not open it."""
        return not self.own or self.state == "undecryptable"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[RecipientState])


def encode_states(states: list[RecipientState]) -> bytes:
    """As the column `sends.states` holds them."""
    return _encoder.encode(states)


def decode_states(blob: bytes) -> list[RecipientState]:
    """Read the column `sends.states`."""
    return _decoder.decode(blob)


def still_open(states: Iterable[RecipientState]) -> int:
    """How many recipient devices have no last state yet."""
    return sum(1 for state in states if not state.own and state.state == "waiting")


def for_wire(states: Iterable[RecipientState]) -> tuple[DeviceState, ...]:
    """The states as a `status` frame tells them."""
    return tuple(
        DeviceState(state.device, state.state, state.at, state.signature)
        for state in states
        if state.worth_telling
    )
