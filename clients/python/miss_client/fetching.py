"""One look into the mailbox over HTTP: for a process that is woken for a few seconds (rule B3).

The same order as on a connection: save, then acknowledge; what is saved is acknowledged by the next
call of the same loop, or by the next connection.
"""

from msgspec import UNSET

from miss_client.calls import Calls
from miss_client.contacts import Contacts
from miss_client.errors import RefusedByServer, ServerError
from miss_client.inbox import Inbox, Row
from miss_client.outbox import Outbox
from miss_client.upkeep import Upkeep
from miss_client.vault import Vault
from miss_protocol import client_session as s
from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.api import MailboxCall, MailboxPage
from miss_protocol.digest import envelope_hash, roll
from miss_protocol.errors import Code


async def fetch_once(
    vault: Vault,
    calls: Calls,
    contacts: Contacts,
    outbox: Outbox,
    inbox: Inbox,
    upkeep: Upkeep,
) -> int:
    """Fetch until nothing waits, acknowledge, send what is unsettled; returns how many rows came."""
    came = 0
    tick: int | None = None
    introduced = False
    while True:
        cursor = vault.cursor
        nacks = tuple(inbox.owed_nacks())
        owed = inbox.owed()
        receipts = tuple(owed[: limits.RECEIPTS_PER_ACK_MAX])
        more = len(owed) > len(receipts)
        call = MailboxCall(
            after=cursor.position,
            digest=cursor.digest,
            sn=cursor.sn,
            epoch=cursor.epoch,
            roster=contacts.own.version,
            settled=cursor.settled,
            ack=f.Ack(
                # It covers the rows of all that is owed, so it goes with the last of it: the
                # server would call the others delivered without their receipts (spec 03 §7).
                position=UNSET if more else cursor.position,
                tick=UNSET if tick is None else tick,
                receipts=receipts,
            ),
            nacks=nacks,
        )
        try:
            page = await calls.post("/v1/mailbox", call, MailboxPage)
        except RefusedByServer as refused:
            if introduced or refused.code is not Code.AUTH_FAILED or not await upkeep.introduce():
                raise
            introduced = True
            continue
        restored = None if page.restored is UNSET else page.restored
        if restored is not None and vault.cursor.sn != call.sn:
            continue  # something was numbered meanwhile: declare that, or it is waited for
        digest = b"" if page.after_digest is UNSET else page.after_digest
        upkeep.note_epoch(page.epoch, restored=restored, acked=page.acked, digest=digest)
        if restored is None:
            # The call is one transaction on the server: answered means durable.
            inbox.paid(receipts, nacks)
        rows = _rows(page, vault.cursor.position, vault.cursor.digest)
        async for _ in inbox.take(rows):
            pass  # the next call acknowledges
        for status in page.statuses:
            outbox.status(status)
            tick = max(tick or 0, status.tick)
        came += len(rows)
        if not rows and not page.statuses and restored is None and not more:
            break
    await inbox.catch_up()
    await outbox.post()
    if upkeep.notices.wanted:
        await upkeep.look_around()
    return came


def _rows(page: MailboxPage, position: int, digest: bytes) -> list[Row]:
    """The page's rows with their rolling digests; a skipped position is a broken protocol."""
    rows: list[Row] = []
    for row in page.rows:
        first = row.first if isinstance(row, f.Gap) else row.position
        if first != position + 1:
            raise ServerError("a position was skipped")
        if isinstance(row, f.Gap):
            for at, row_hash in enumerate(row.hashes, row.first):
                digest = roll(digest, at, row_hash)
            position = row.last
            rows.append(s.GapSeen(row, digest))
        else:
            row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
            digest = roll(digest, row.position, row_hash)
            position = row.position
            rows.append(s.Delivered(row, digest))
    return rows
