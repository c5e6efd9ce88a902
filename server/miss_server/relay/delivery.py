"""The way of a send into the store, and of an acknowledgement.

What can be told from the frame alone is decided here (limits, encryption); everything that depends
on stored state is decided by the store under its locks.
"""

import asyncio
from collections.abc import Callable
from functools import partial
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
from miss_server.relay.hub import Hub
from miss_server.storage.messages import (
    AckLine,
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

    def __init__(self, messages: Messages, hub: Hub, doorbell: Doorbell, clock: Clock) -> None:
        self._messages = messages
        self._hub = hub
        self._doorbell = doorbell
        self._clock = clock

    def accept(
        self,
        device: DeviceId,
        generation: int | None,
        send: f.Send,
        answer: Callable[[Settled], None],
    ) -> None:
        """Settle a send and call `answer`, once, with the outcome; never raises.

        `sent` is only ever said after the commit (rule 2 of the design).
        """
        # Of two clocks that differ, nobody knows which is right. By the wrong one, a node would take its
        # people for those whose clocks are wrong, or messages for those whose time is over.
        own_ms, tally = self._clock.now_ms(), self._messages.tally
        now_ms = tally.later_ms(own_ms)
        submission = Submission(
            device,
            generation,
            send,
            fingerprint(send),
            verdict(send, now_ms),
            now_ms - tally.earlier_ms(own_ms),
        )
        try:
            settling = self._messages.submit(submission, now_ms=now_ms)
        except Exception as error:  # noqa: BLE001  # told to the sender like any other trouble
            answer(_unsettled(submission, error))
            return
        settling.add_done_callback(partial(self._settled, submission, answer))

    def _settled(
        self,
        submission: Submission,
        answer: Callable[[Settled], None],
        settling: asyncio.Future[Settled],
    ) -> None:
        error = settling.exception()
        tally = self._hub.tally.settled
        if error is not None:
            settled = _unsettled(submission, error)
            tally[_outcome(settled)] += 1
            answer(settled)
            return
        settled = settling.result()
        tally[_outcome(settled)] += 1
        try:
            self._doorbell.ring([*self._hub.hand_over(settled.rows), *settled.ring])
        finally:
            answer(settled)  # it is durable, whatever became of the recipients' connections

    async def accepted(self, device: DeviceId, generation: int | None, send: f.Send) -> Settled:
        """As `accept`, for who can wait."""
        outcome: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self.accept(
            device, generation, send, lambda it: None if outcome.done() else outcome.set_result(it)
        )
        return await outcome

    def acknowledge(
        self,
        device: DeviceId,
        generation: int | None,
        ack: f.Ack | None,
        nacks: list[f.Nack],
        *,
        line: AckLine,
    ) -> asyncio.Future[Acknowledged]:
        """Store an acknowledgement, behind those of its line.

        Raises:
            NotDurable: the outcome is unknown; the client repeats it after its next login. At once,
                or from the future.
            Refused: a receipt in the name of another device.
        """
        receipts = ack.receipts if ack is not None else ()
        if any(receipt.recipient_device != device for receipt in receipts):
            raise Refused(Code.UNTRUSTED, "a receipt of another device")
        storing = self._messages.acknowledge(
            Acknowledgement(
                device,
                generation,
                _optional(ack.position) if ack is not None else None,
                _optional(ack.tick) if ack is not None else None,
                receipts,
                [(nack.position, nack.reason) for nack in nacks],
                line,
            ),
            now_ms=self._clock.now_ms(),
        )
        storing.add_done_callback(self._acknowledged)
        return storing

    def _acknowledged(self, storing: asyncio.Future[Acknowledged]) -> None:
        if not storing.cancelled() and storing.exception() is None:
            self._doorbell.ring(self._hub.hand_over_statuses(storing.result().statuses))


def _unsettled(submission: Submission, error: BaseException) -> Settled:
    device, sn = short(submission.device), submission.send.sn
    if isinstance(error, NotDurable):
        log.error("send not durable", device=device, error=str(error))
        code = Code.NOT_DURABLE
    else:
        log.error("send failed", device=device, sn=sn, exc_info=error)
        code = Code.INTERNAL
    return Settled(f.RetrySend(sn, code.wire, RETRY_NOT_DURABLE))


def _outcome(settled: Settled) -> str:
    reply = settled.reply
    if isinstance(reply, f.Sent):
        return "sent"
    return "stale" if reply is None else reply.code


def _optional(value: int | msgspec.UnsetType) -> int | None:
    return None if isinstance(value, msgspec.UnsetType) else value
