"""The doorbell of a single node: a call to whoever listens."""

from collections.abc import Collection

from miss_protocol.ids import DeviceId
from miss_server.doorbell.interface import Listener


class MemoryDoorbell:
    """Rings within this process; nothing is lost, nothing is late."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def ring(self, devices: Collection[DeviceId]) -> None:
        if devices:
            for listener in self._listeners:
                listener(devices)
