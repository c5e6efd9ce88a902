"""The close codes of the WebSocket, which follow their range: 4000-4499 reconnect, 4500-4999 stop and
tell the user. Spec: 06-codes.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """WebSocket close codes. Below 4500: reconnect with back-off. From 4500: stop, tell the user."""

    ACK_TIMEOUT = 4008
    """Nothing was acknowledged and no pong came: the link is taken for dead."""
    RATE = 4029
    DRAINING = 4030
    """The server goes down in order; `bye` told when to come back."""
    TRY_LATER = 4032
    """The server cannot serve now (storage trouble)."""
    AUTH = 4501
    REVOKED = 4503
    REPLACED = 4509
    """The same device connected again; the newer connection wins."""
    ROLLED_BACK = 4510
    """The device's state is older than what it sent or acknowledged: it must be enrolled anew."""
    PROTOCOL = 4526
    """Not this protocol, or a version that is no longer served."""

    @property
    def reconnect(self) -> bool:
        """Whether the client connects again by itself."""
        return self < 4500
