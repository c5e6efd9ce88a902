"""The way of a send into the store, and of an acknowledgement.

What can be told from the frame alone is decided here (limits, encryption); everything that depends
on stored state is decided by the store under its locks.
"""

from hashlib import blake2b

import msgspec
import structlog

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import DeviceId
from miss_protocol.suites import check_body, check_wrap
from miss_server.doorbell.interface import Doorbell
from miss_server.observe import short
from miss_server.relay.clock import Clock
from miss_server.storage.messages import (
    Acknowledged,
    Acknowledgement,
    Messages,
    NotDurable,
    Settled,
    Submission,
)

RETRY_NOT_DURABLE = 2.0
"""Seconds: storage trouble seldom passes sooner, and a clinician should not wait longer."""

log = structlog.get_logger()
_canonical = msgspec.msgpack.Encoder()


def fingerprint(send: f.Send) -> bytes:
    """A hash of the whole send, the same from either subprotocol and from HTTP (rule B2)."""
    return blake2b(_canonical.encode(send), digest_size=32, person=b"MiSS1 send").digest()


def verdict(send: f.Send, now_ms: int) -> Code | None:
    """What the frame alone tells against it; None if nothing does."""
    if not send.wraps:
        return Code.NO_RECIPIENTS
    if len(send.wraps) > limits.RECIPIENT_DEVICES_MAX:
        return Code.TOO_MANY_RECIPIENTS
    if len(send.rosters) > limits.RECIPIENT_ACCOUNTS_MAX:
        return Code.TOO_MANY_RECIPIENTS
    if send.at > now_ms + limits.CLOCK_SKEW_MAX * 1000:
        return Code.CLOCK_SKEW
    try:
        check_body(send.body)
        for wrap in send.wraps:
            check_wrap(wrap.wrap)
    except Refused as refused:
        return refused.code
    return None


class Delivery:
    """Sends and acknowledgements of any device, by socket or by HTTP."""

    def __init__(self, messages: Messages, doorbell: Doorbell, clock: Clock) -> None:
        self._messages = messages
        self._doorbell = doorbell
        self._clock = clock

    async def accept(self, device: DeviceId, generation: int | None, send: f.Send) -> Settled:
        """Settle a send; `sent` is only ever said after the commit (rule 2 of the design)."""
        now_ms = self._clock.now_ms()
        submission = Submission(device, generation, send, fingerprint(send), verdict(send, now_ms))
        try:
            settled = await self._messages.submit(submission, now_ms=now_ms)
        except NotDurable as error:
            log.error("send not durable", device=short(device), error=str(error))
            return Settled(f.RetrySend(send.sn, Code.NOT_DURABLE.wire, RETRY_NOT_DURABLE))
        except Exception:
            log.exception("send failed", device=short(device), sn=send.sn)
            return Settled(f.RetrySend(send.sn, Code.INTERNAL.wire, RETRY_NOT_DURABLE))
        self._doorbell.ring(settled.ring)
        return settled

    async def acknowledge(
        self, device: DeviceId, generation: int | None, ack: f.Ack | None, nacks: list[f.Nack]
    ) -> Acknowledged:
        """Store an acknowledgement.

        Raises:
            NotDurable: the outcome is unknown; the client repeats it after its next login.
            Refused: a receipt in the name of another device.
        """
        receipts = ack.receipts if ack is not None else ()
        if any(receipt.recipient_device != device for receipt in receipts):
            raise Refused(Code.UNTRUSTED, "a receipt of another device")
        stored = await self._messages.acknowledge(
            Acknowledgement(
                device,
                generation,
                _optional(ack.position) if ack is not None else None,
                _optional(ack.tick) if ack is not None else None,
                receipts,
                [(nack.position, nack.reason) for nack in nacks],
            ),
            now_ms=self._clock.now_ms(),
        )
        self._doorbell.ring(stored.ring)
        return stored


def _optional(value: int | msgspec.UnsetType) -> int | None:
    return None if isinstance(value, msgspec.UnsetType) else value
