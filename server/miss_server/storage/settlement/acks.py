"""Decides a batch of acknowledgements over loaded rows.

An ack deletes rows, moves the mailbox's acknowledged position and digest, and brings receipts; a
nack ends one envelope; both are news for the senders.
"""

from collections.abc import Iterable, Sequence

import msgspec

from miss_protocol import frames as f
from miss_protocol.errors import Code
from miss_protocol.identity.receipts import Receipt
from miss_protocol.ids import DeviceId
from miss_server.storage.messages import ROW_OVERHEAD, Acknowledged, Acknowledgement
from miss_server.storage.settlement.news import News, Telling


class _Acked(msgspec.Struct, gc=False):
    """What an acknowledgement takes off a mailbox."""

    position: int = 0
    digest: bytes = b""
    rows: int = 0
    freed: int = 0

    def take(self, position: int, digest: bytes, freed: int) -> None:
        if position > self.position:
            self.position, self.digest = position, digest
        self.rows += 1
        self.freed += freed


class Acks:
    """One batch: `(acknowledgement, now_ms)` pairs, settled by `admit`, `take` and `answer`.

    Lists of keys are sorted and have no doubles. What is to be written comes as tuples, key first:
    `ticks` after `admit`, `mailboxes` after `take`, and what the `Telling` wants.
    """

    def __init__(self, batch: Sequence[tuple[Acknowledgement, int]]) -> None:
        self._batch = batch
        self._valid: list[tuple[int, Acknowledgement, int]] = []
        self._through: dict[bytes, tuple[int, int, int]] = {}
        self._news: list[tuple[int, News]] = []
        self.devices = sorted({ack.device for ack, _ in batch})
        """Device ids to load for `admit`."""
        self.ticks: list[tuple[bytes, int]] = []
        """Statuses up to these are no longer pending, unless later ones are already not: device,
        tick. They keep their tick: to take it off each would cost as much again as to give it."""
        self.nacked: list[tuple[bytes, int]] = []
        """(device, position) of the rows to load for `take`, before the others are deleted."""
        self.acked: list[tuple[bytes, int]] = []
        """(device, position): every row up to there is to be deleted, and given to `take`."""
        self.mailboxes: list[tuple[bytes, int, bytes, int, int]] = []
        """Mailboxes that shrank: device, acked, acked_digest, rows and bytes that are gone."""

    def admit(self, devices: Iterable[tuple[bytes, int, int | None]]) -> None:
        """Leave out late acks of devices that were replaced or removed meanwhile; afterwards
        `ticks`, `nacked` and `acked` are known.

        Args:
            devices: (id, generation, revoked_ms), locked before they were read.
        """
        current = {device: generation for device, generation, gone in devices if gone is None}
        ticks: dict[bytes, int] = {}
        nacked: set[tuple[bytes, int]] = set()
        for index, (ack, now_ms) in enumerate(self._batch):
            device = ack.device
            if device not in current or ack.generation not in (None, current[device]):
                continue
            self._valid.append((index, ack, now_ms))
            if ack.tick is not None:
                ticks[device] = max(ticks.get(device, 0), ack.tick)
            nacked.update((device, position) for position, _reason in ack.nacks)
            if ack.position is not None and ack.position > self._through.get(device, (0, 0, 0))[0]:
                self._through[device] = (ack.position, index, now_ms)
        self.ticks = sorted(ticks.items())
        self.nacked = sorted(nacked)
        self.acked = sorted((device, through[0]) for device, through in self._through.items())

    def take(
        self,
        nacked: Iterable[tuple[bytes, int, bytes, bytes]],
        gone: Iterable[tuple[bytes, int, bytes, str | None, bytes, bytes, int]],
    ) -> Telling | None:
        """Empty the mailboxes; afterwards `mailboxes` is known.

        Args:
            nacked: (device, position, sender_device, message) of those that are no gaps.
            gone: (device, position, digest, gap, sender_device, message, bytes of body and wrap)
                of the deleted rows, in any order.

        Returns:
            What the senders are to be told, for the engine to carry out before `answer`.
        """
        refused = {(device, position): rest for device, position, *rest in nacked}
        # Signed words and nacks first: they win over the plain fact that a row was acknowledged.
        for index, ack, now_ms in self._valid:
            self._news += [(index, _from_receipt(receipt)) for receipt in ack.receipts]
            for position, _reason in ack.nacks:
                if (ack.device, position) in refused:
                    sender, message = refused[ack.device, position]
                    item = News(sender, message, ack.device, "undecryptable", now_ms)
                    self._news.append((index, item))
        boxes: dict[bytes, _Acked] = {}
        # The senders' ticks want the order of the positions.
        for device, position, digest, gap, sender, message, size in sorted(gone):
            box = boxes.setdefault(device, _Acked())
            box.take(position, digest, 0 if gap is not None else size + ROW_OVERHEAD)
            if gap is None:
                # Without a signed receipt this is the server's word alone.
                _, index, now_ms = self._through[device]
                self._news.append((index, News(sender, message, device, "delivered", now_ms)))
        self.mailboxes = [
            (device, box.position, box.digest, box.rows, box.freed)
            for device, box in sorted(boxes.items())
        ]
        if not self._news:
            return None
        return Telling([item for _, item in self._news], max(now for _, now in self._batch))

    def answer(self, telling: Telling | None) -> list[Acknowledged]:
        """The answers, in the order of the batch."""
        statuses: list[list[tuple[DeviceId, f.Status]]] = [[] for _ in self._batch]
        unknown_receipts: set[int] = set()
        if telling is not None:
            for place, sender, status in telling.told:
                statuses[self._news[place][0]].append((sender, status))
            unknown_receipts = {
                self._news[place][0] for place in telling.unknown if self._news[place][1].signature
            }
        stored = {index for index, _, _ in self._valid}
        return [
            Acknowledged(
                new,
                (Code.RECEIPT_UNKNOWN,) if index in unknown_receipts else (),
                stale=index not in stored,
            )
            for index, new in enumerate(statuses)
        ]


def _from_receipt(receipt: Receipt) -> News:
    return News(
        receipt.sender_device,
        receipt.message,
        receipt.recipient_device,
        receipt.state.value,
        receipt.at_ms,
        receipt.signature,
    )
