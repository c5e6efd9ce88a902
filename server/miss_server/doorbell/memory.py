"""The doorbell of a single node: a call to whoever listens."""

from collections.abc import Callable, Collection

from miss_protocol.ids import DeviceId
from miss_server.doorbell.interface import DoorbellState, Listener, News


class MemoryDoorbell:
    """Rings within this process; nothing is lost, nothing is late. There is no other node."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._listeners: list[Listener] = []
        self._since = now_ms()

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def ring(self, devices: Collection[DeviceId]) -> None:
        if devices:
            news = News(tuple(devices))
            for listener in self._listeners:
                listener(news)

    def began(self, device: DeviceId, generation: int) -> None:
        pass

    def revoked(self, devices: Collection[DeviceId]) -> None:
        pass

    def restored(self) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def state(self) -> DoorbellState:
        return DoorbellState("memory", up=True, since_ms=self._since)
