"""A disk that was full and has room again, though less than the write-ahead log usually takes."""

from pathlib import Path

import pytest
from sqlalchemy import Connection

from miss_server.storage.messages import NotDurable
from miss_server.storage.sqlite.engine import CHECKPOINT_PAGES, open_engine
from miss_server.storage.sqlite.writer import Writer
from tests.support.loopdisk import loop_disk

DISK_MIB = 16


def overwrite(db: Connection) -> None:
    """The database stays small, the log grows by a hundred kilobytes."""
    db.exec_driver_sql("UPDATE pages SET content = randomblob(100000)")


async def overwrite_often(writer: Writer, times: int) -> None:
    for _ in range(times):
        await writer.run(overwrite)


async def test_commits_go_on_when_there_is_less_room_than_the_log_would_take(
    tmp_path: Path,
) -> None:
    assert CHECKPOINT_PAGES * 4096 > (DISK_MIB - 2) << 20, "the log would never fill this disk"
    async with loop_disk(tmp_path, DISK_MIB) as disk:
        writer = Writer(open_engine(disk.point / "miss.sqlite"))
        writer.start()
        try:
            await writer.run(lambda db: db.exec_driver_sql("CREATE TABLE pages (content BLOB)"))
            await writer.run(lambda db: db.exec_driver_sql("INSERT INTO pages VALUES (NULL)"))
            await overwrite_often(writer, 50)
            ballast = disk.fill()
            with pytest.raises(NotDurable):
                await overwrite_often(writer, 50)
            ballast.unlink()
            await overwrite_often(writer, DISK_MIB * 20)
        finally:
            await writer.stop()
