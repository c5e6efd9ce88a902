"""Mailboxes full of messages, by the server's own code but without a server.

Rows, digests and results come out as if they had been sent over the wire, which would take ten
times as long.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from miss_protocol import frames as f
from miss_server.relay.delivery import fingerprint, verdict
from miss_server.storage.messages import Submission
from miss_server.storage.sqlite import sends
from miss_server.storage.sqlite.engine import driver, open_engine, writing
from tests.bench.machine import now_ms
from tests.bench.population import Peer
from tests.bench.script import WRAP_BYTES, encode_receipt
from tests.support.mailing import opaque_body, opaque_wrap
from tests.support.meeting import LIFTED

BATCH = 500
"""Sends of one transaction, as many as the server's writer takes at once."""


def fill(
    database: Path, sender: Peer, recipients: Sequence[Peer], each: int, *, together: int = 1
) -> None:
    """Put `each` messages into every recipient's mailbox, each message for `together` of them.

    `sender` must not log in later: its count of sends goes up here.
    """
    submissions = _submissions(sender, recipients, each, together)
    engine = open_engine(database)
    with engine.connect() as connection:
        while batch := list(islice(submissions, BATCH)):
            with writing(connection):
                for settled in sends.settle(driver(connection), batch, None, LIFTED):
                    if not isinstance(settled.reply, f.Sent) or settled.reply.refused:
                        raise ValueError(f"not accepted: {settled.reply}")
    engine.dispose()


def _submissions(
    sender: Peer, recipients: Sequence[Peer], each: int, together: int
) -> Iterator[tuple[Submission, int]]:
    body, wrap, at, sn = opaque_body(), opaque_wrap(WRAP_BYTES), now_ms(), 0
    # Round after round, not one mailbox after the other: rows of a mailbox lie apart, as in life.
    for _ in range(each):
        for start in range(0, len(recipients), together):
            some = recipients[start : start + together]
            sn += 1
            send = f.Send(
                sn, os.urandom(16), at, body,
                tuple(f.DeviceWrap(one.device, wrap) for one in some),
                tuple(f.RosterUsed(one.account, 1) for one in (sender, *some)),
            )  # fmt: skip
            yield Submission(sender.device, None, send, fingerprint(send), verdict(send, at)), at


def receipts(database: Path, sender: Peer, recipient: Peer) -> dict[bytes, msgspec.Raw]:
    """The receipts that a recipient owes for what `fill` put into its mailbox, by message id."""
    engine = open_engine(database, read_only=True)
    with engine.connect() as connection:
        waiting = driver(connection).execute(
            "SELECT message FROM envelopes WHERE device = ?", (recipient.device,)
        )
        at = now_ms()
        signed = {id: encode_receipt(sender, recipient, id, at) for (id,) in waiting}
    engine.dispose()
    return signed
