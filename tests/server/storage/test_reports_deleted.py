"""What a deleted report showed was plain text: it is not left in the file for who copies it."""

from pathlib import Path

from miss_server.storage.reports import Outcome
from miss_server.storage.sqlite.store import SqliteStore, prepare
from tests.support.devices import DOMAIN, NOW, Person, address
from tests.support.mailing import enrol
from tests.support.reporting import TEXT, filing


async def test_nothing_of_it_is_left_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "miss.sqlite"
    prepare(path, domain=DOMAIN, now_ms=NOW)
    store = SqliteStore(path)
    store.open()
    by = Person()
    await enrol(store, by)  # type: ignore[arg-type]  # it is every interface
    reporter = await store.create(None, "Dr Fictif", address(), now_ms=NOW)
    for number in range(8):
        given = filing(by, reporter)
        assert TEXT.encode() in given.signed
        filed = await store.file_report(given, now_ms=NOW)
        if number:
            await store.close_report(
                filed.id, Outcome.NONE, delete_ms=NOW + 1, actor="server", now_ms=NOW
            )
    await store.clean(now_ms=NOW + 1)
    await store.close()
    assert path.read_bytes().count(TEXT.encode()) == 1  # of the open one
