"""`miss-server reports`: what an operator is shown of a message, and what is done about it."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from miss_protocol.content import Content, Reaction
from miss_protocol.ids import MessageId
from miss_server.cli import app
from miss_server.storage.reports import Filing, Signer
from miss_server.storage.sqlite.store import SqliteStore, prepare
from miss_server.storage.standing import State
from tests.support.devices import DOMAIN, NOW, Person
from tests.support.mailing import enrol, revoke
from tests.support.reporting import TEXT, filing, written


class Operator:
    """A database with two people, and what an operator types beside it."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "miss.sqlite"
        prepare(self.database, domain=DOMAIN, now_ms=NOW)
        self.doctor, self.nurse = Person(), Person()

        async def join(store: Any) -> None:
            for person in (self.doctor, self.nurse):
                await enrol(store, person)

        self.beside(join)

    def beside(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """Do something in the database."""

        async def whole() -> Any:
            store = SqliteStore(self.database)
            store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    def file(self, said: Content | str = TEXT, **fields: Any) -> str:
        """The nurse shows a message of the doctor's; returns the report's number."""
        author = self.doctor.device
        message = written(author, self.doctor, self.nurse, said=said)
        shown = {"message": message.id, "signed": message.encode()} | fields
        given: Filing = filing(self.doctor, self.nurse.account, **shown)
        return str(self.beside(lambda store: store.file_report(given, now_ms=NOW)).id)

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """Run a command; returns all that it says."""
        done = CliRunner().invoke(
            app,
            [*words, "--domain", DOMAIN],
            env={"MISS_DATABASE": str(self.database)} | variables,
        )
        assert done.exit_code == status, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.output


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_a_report_is_listed_read_and_closed(operator: Operator) -> None:
    assert operator.run("reports", "list") == "None.\n"
    number = operator.file()
    said = operator.run("reports", "list")
    assert number in said
    assert "advertising or a questionnaire" in said
    assert f"<{operator.doctor.account}>, shown by Dr Fictif <{operator.nurse.account}>" in said
    assert "not read yet" in said
    assert TEXT not in said
    said = operator.run("reports", "show", number[:10])
    for told in (
        f"\n  | {TEXT}\n",
        "Their note: Troisième fois.",
        f"Written by: Dr Fictif <{operator.doctor.account}>",
        f"Shown by: Dr Fictif <{operator.nurse.account}>",
        "The signature holds",
        "does not know any more when it took it",
        f"miss-server accounts restrict {operator.doctor.account} --reason",
        f"miss-server reports close {number[:8]} --outcome none|warned|restricted|suspended",
    ):
        assert told in said, said
    assert "removed" not in said
    said = operator.run("reports", "close", number, "--outcome", "restricted")
    assert f"Closed: {number} (restricted)" in said
    assert f"miss-server accounts restrict {operator.doctor.account}" in said
    assert "Closed" in operator.run("reports", "close", number, "--outcome", "restricted")
    said = operator.run("reports", "close", number, "--outcome", "none", status=1)
    assert "another outcome" in said
    assert operator.run("reports", "list") == "None.\n"
    assert "closed 20" in operator.run("reports", "list", "--closed")
    assert "Closed: restricted" in operator.run("reports", "show", number)
    log = operator.run("audit", "show", "--account", operator.doctor.account)
    actions = [line.split()[4] for line in log.splitlines()]
    shown, filed, closed = "report_shown", "report_filed", "report_closed"
    assert actions[-4:] == [filed, shown, closed, shown]
    assert TEXT not in log
    assert "Troisième" not in log


def test_what_is_exported_is_checked_without_the_server(operator: Operator, tmp_path: Path) -> None:
    doctor, file = operator.doctor, tmp_path / "report.json"
    tablet = doctor.add_device()
    operator.beside(lambda store: store.change_roster(doctor.roster, now_ms=NOW))
    message = written(tablet, operator.nurse)
    signer = Signer(tablet.certificate, None)
    fields: dict[str, Any] = {"message": message.id, "signed": message.encode(), "signer": signer}
    number = operator.file(**fields)
    doctor.add_device()
    operator.beside(lambda store: store.change_roster(doctor.roster, now_ms=NOW))
    operator.run("reports", "export", number[:8], "--output", str(file))
    assert file.stat().st_mode & 0o077 == 0
    assert "exists" in operator.run("reports", "export", number, "--output", str(file), status=1)
    exported = json.loads(file.read_text())
    assert len(exported["rosters"]) == 2  # up to the one that lists the tablet
    assert exported["said"]["note"] == "Troisième fois."
    assert json.loads(operator.run("reports", "export", number)) == exported
    said = check(file)
    assert "The signature holds" in said
    assert f"\n  | {TEXT}\n" in said
    assert f"Account: {doctor.account}" in said
    log = operator.run("audit", "show", "--account", doctor.account)
    assert [line.split()[4] for line in log.splitlines()][-1] == "report_exported"
    first = exported["rosters"][:1]
    stranger = Person()
    changes: tuple[dict[str, Any], ...] = (
        {"format": "MiSS report 2"},
        {"rosters": []},
        {"rosters": first},
        {"account": stranger.account},
        {"certificate": base64.b64encode(stranger.device.certificate.encode()).decode()},
        {"message": base64.b64encode(message.encode()[:-1] + b"?").decode()},
        {"said": exported["said"] | {"reporter": stranger.account}},
        {"said": None},
    )
    for changed in changes:
        file.write_text(json.dumps(exported | changed))
        assert "proves nothing" in check(file, status=4)
    assert "No such file" in check(tmp_path / "none.json", status=1)


def check(file: Path, status: int = 0) -> str:
    """What the command says of a file; it knows no database."""
    done = CliRunner().invoke(app, ["reports", "check", str(file)])
    assert done.exit_code == status, done.output
    return done.output


def test_it_is_deleted_after_the_operators_time(operator: Operator) -> None:
    kept, over = operator.file(), operator.file()
    operator.run("reports", "close", kept, "--outcome", "none")
    operator.run("reports", "close", over, "--outcome", "none", MISS_REPORT_DAYS="0")
    operator.beside(lambda store: store.clean(now_ms=2 * NOW))
    with closing(sqlite3.connect(operator.database)) as db:
        assert db.execute("SELECT count(*) FROM reports").fetchone() == (0,)
    assert "deleted after some time" in operator.run("reports", "show", over, status=1)


def test_what_an_operator_should_know_of_the_account_and_the_device(operator: Operator) -> None:
    doctor = operator.doctor
    tablet = doctor.add_device()
    operator.beside(lambda store: store.change_roster(doctor.roster, now_ms=NOW))
    message = written(tablet, operator.nurse, sent_ms=2**64 - 1)
    signer = Signer(tablet.certificate, None)
    fields: dict[str, Any] = {"message": message.id, "signed": message.encode(), "signer": signer}
    number = operator.file(**fields, note="")
    operator.file()
    revoke(doctor, tablet.certificate.device)
    operator.beside(lambda store: store.change_roster(doctor.roster, now_ms=NOW))
    operator.run("accounts", "suspend", doctor.account, "--reason", "Publicité.")
    said = operator.run("reports", "show", number)
    assert "! The device was removed from the account" in said
    assert "Other reports about this account that are kept: 1." in said
    assert "The account is suspended since" in said
    assert f"Written {2**64 - 1} by the sender's clock" in said
    assert "Their note" not in said
    closed = operator.run("reports", "close", number, "--outcome", "suspended")
    assert "miss-server accounts" not in closed  # it is already
    other = operator.run("reports", "list").split()[0]
    closed = operator.run("reports", "close", other, "--outcome", "restricted")
    assert f"miss-server accounts restrict {doctor.account}" in closed


def test_what_a_sender_wrote_does_not_move_the_cursor(operator: Operator) -> None:
    number = operator.file("Rien.\n\x1b[2J\x1b]0;titre\x07Signalement clos\u202e", note="\x9b2J")
    said = operator.run("reports", "show", number)
    assert "\x1b" not in said
    assert "\x9b" not in said
    assert "\u202e" not in said
    assert "\n  | Rien.\n  | \N{REPLACEMENT CHARACTER}[2J" in said
    number = operator.file(Reaction(message=MessageId(bytes(16)), symbol="👎"))
    assert "  | [reaction]" in operator.run("reports", "show", number)


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("signed", lambda was: was.replace(TEXT.encode(), TEXT.upper().encode())),
        ("signed", lambda was: was + b"\0"),
        ("certificate", lambda was: b"\0"),
        ("account", lambda was: f"{'a' * 26}@{DOMAIN}"),
        ("reporter", lambda was: f"{'a' * 26}@{DOMAIN}"),
        ("message", lambda was: bytes(16)),
    ],
)
def test_a_database_that_was_tampered_with_shows(
    operator: Operator, column: str, changed: Callable[[Any], Any]
) -> None:
    number = operator.file()
    with closing(sqlite3.connect(operator.database, isolation_level=None)) as db:
        [was] = db.execute(f"SELECT {column} FROM reports").fetchone()  # noqa: S608  # those above
        db.execute(f"UPDATE reports SET {column} = ?", (changed(was),))  # noqa: S608
    said = operator.run("reports", "show", number, status=4)
    assert "is not what was signed" in said
    assert TEXT not in said


def test_clumsy_words_are_told(operator: Operator) -> None:
    for id in ("a1" * 8, "a2" * 8):
        operator.file(id=id)
    assert "type more" in operator.run("reports", "show", "a", status=2)
    assert "there is no such report" in operator.run("reports", "show", "b", status=1)
    for wrong in ("xyz", "%", "", "a1-"):
        assert "is no number of a report" in operator.run("reports", "show", wrong, status=2)
    operator.run("reports", "close", "a1", "--outcome", "banned", status=2)
    assert State.RESTRICTED.value in operator.run("reports", "close", "--help")
