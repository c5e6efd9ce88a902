"""Named faults of prekeys and of the witness beside the database; see `faults`."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, delete, insert, select, update

from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import DeviceId
from miss_server.storage import schema, witness
from miss_server.storage.jobs import Job
from miss_server.storage.sql import epochs, prekeys, witnessed
from miss_server.storage.sqlite.writer import Writer


def witness_not_compared(stack: ExitStack) -> None:
    """A database is taken for the newest, whatever its witness saw."""
    stack.enter_context(patch.object(witness, "is_older", lambda *_: False))


def witness_written_before_the_commit(stack: ExitStack) -> None:
    """The witness hears of what may yet be undone by a crash."""
    real = Writer._settle

    def settle(self: Writer, db: Any, jobs: list[Job]) -> None:
        real(self, db, jobs)
        self._tell_witness(self._news_for_the_witness(db, jobs), jobs)

    stack.enter_context(patch.object(Writer, "_settle", settle))


def one_time_prekeys_survive_an_epoch(stack: ExitStack) -> None:
    """A new epoch leaves the prekeys of the lost time where they are."""
    real = epochs.change

    def change(
        connection: Connection, now_ms: int, *, after: int, witness: str = witnessed.ALONE
    ) -> bytes:
        kept = (
            connection.execute(
                select(schema.prekeys).where(schema.prekeys.c.last_resort.is_(False))
            )
            .mappings()
            .all()
        )
        epoch = real(connection, now_ms, after=after, witness=witness)
        if kept:
            connection.execute(insert(schema.prekeys), [dict(row) for row in kept])
        return epoch

    stack.enter_context(patch.object(epochs, "change", change))


def stale_prekeys_accepted(stack: ExitStack) -> None:
    """A device that has not heard of the new epoch may bring its prekeys back."""

    def add(
        connection: Connection, device: DeviceId, given: Sequence[SignedPrekey], epoch: bytes
    ) -> tuple[int, int]:
        return prekeys.keep(connection, device, given)

    stack.enter_context(patch.object(prekeys, "add", add))


def one_prekey_for_two_claims(stack: ExitStack) -> None:
    """Claims of one transaction see the prekeys as they were before it."""
    real = prekeys.claim
    real_commit = Writer._answer
    seen: dict[DeviceId, bytes] = {}

    def claim(connection: Connection, devices: Sequence[DeviceId]) -> dict[DeviceId, bytes]:
        found = {device: seen[device] for device in devices if device in seen}
        found |= real(connection, [device for device in devices if device not in seen])
        seen.update(found)
        return found

    def answer(jobs: Sequence[Job]) -> None:
        seen.clear()
        real_commit(jobs)

    stack.enter_context(patch.object(prekeys, "claim", claim))
    stack.enter_context(patch.object(Writer, "_answer", staticmethod(answer)))


def prekey_ids_forgotten(stack: ExitStack) -> None:
    """A repeated upload is kept once more, what was handed out of it too."""
    real = prekeys.keep

    def keep(
        connection: Connection, device: DeviceId, given: Sequence[SignedPrekey]
    ) -> tuple[int, int]:
        devices, keys = schema.devices, schema.prekeys
        connection.execute(update(devices).where(devices.c.id == device).values(prekey_high=-1))
        connection.execute(
            delete(keys).where(keys.c.device == device, keys.c.id.in_([key.id for key in given]))
        )
        return real(connection, device, given)

    stack.enter_context(patch.object(prekeys, "keep", keep))
