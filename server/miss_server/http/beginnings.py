"""Writing down the sign-ins that are begun: a stranger's with others of the same address."""

from collections.abc import Sequence

from miss_protocol.errors import Refused
from miss_server.http.turns import Together
from miss_server.relay.clock import Clock
from miss_server.storage.proofs import Begun, Proofs

AT_ONCE = 8
"""Of one address in one transaction. Each takes half a millisecond of the thread that writes messages, and the
transaction a wait for the disk: whoever signs in waits a few milliseconds for each eight that a flood
from the same address has begun before."""

_Given = tuple[str, Begun]


class Beginnings:
    """Those of one address are written in turn: a flood waits for itself, everybody else goes on."""

    def __init__(self, proofs: Proofs, clock: Clock) -> None:
        self._proofs = proofs
        self._clock = clock
        self._together: Together[_Given] = Together(self._write, AT_ONCE)

    async def of_stranger(self, address: str, secret: str, begun: Begun) -> None:
        """Note what a stranger of `address` was asked. Raises as `Proofs.begin_sign_ins` tells."""
        await self._together.put(address, (secret, begun))

    async def of_account(self, secret: str, begun: Begun) -> None:
        """The same for who renews, is known, and is counted by account."""
        for refused in await self._write([(secret, begun)]):
            if refused is not None:
                raise refused

    async def _write(self, some: Sequence[_Given]) -> list[Refused | None]:
        return await self._proofs.begin_sign_ins(some, now_ms=self._clock.now_ms())
