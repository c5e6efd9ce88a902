"""Rows of a mailbox as the frames that tell a device of them."""

from collections.abc import Collection

from miss_protocol import frames as f
from miss_server.storage.messages import Row

GAP_RANGE_MAX = 512
"""Positions of one gap frame: each brings a hash of 32 bytes."""


def deliver_of(row: Row) -> f.Deliver:
    """The frame of a row that is no gap."""
    return f.Deliver(
        row.position,
        row.sender_account,
        row.sender_device,
        row.message,
        row.body,
        row.wrap,
        row.at_ms,
        row.kind,
        row.urgency,
    )


def frames_of(rows: Collection[Row]) -> list[tuple[f.Deliver | f.Gap, int]]:
    """Rows as frames with their sizes; neighbouring gaps of one reason become one (rule C5)."""
    frames: list[tuple[f.Deliver | f.Gap, int]] = []
    for row in rows:
        if row.gap is None:
            frames.append((deliver_of(row), row.size))
            continue
        last = frames[-1] if frames else None
        if (
            last is not None
            and isinstance(last[0], f.Gap)
            and last[0].reason == row.gap
            and len(last[0].hashes) < GAP_RANGE_MAX
        ):
            gap = last[0]
            merged = f.Gap(
                gap.first,
                row.position,
                gap.reason,
                gap.count + row.count,
                (*gap.hashes, row.row_hash),
            )
            frames[-1] = (merged, last[1] + row.size)
        else:
            gap = f.Gap(row.position, row.position, row.gap, row.count, (row.row_hash,))  # type: ignore[arg-type]  # the column holds only these
            frames.append((gap, row.size))
    return frames
