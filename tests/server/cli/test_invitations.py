"""The operator's side of invitations: listing, exporting, sending by a real mail server, refusing."""

import asyncio
import csv
import email
import email.policy
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner

from miss_protocol.ids import new_address
from miss_server.admin.invitations import Text, TextError, text_of
from miss_server.admin.post import MailServer, PostError, connected
from miss_server.cli import app
from miss_server.storage.sqlite.store import SqliteStore
from tests.support import register, sources
from tests.support.certificates import Files
from tests.support.server import DOMAIN, miss_server
from tests.support.wire import now_ms

STAMP = "202611270300"


def person(serial: int) -> str:
    """An identifier of the fictive register below."""
    return "8" + register.rpps(serial)


@dataclass
class Operator:
    """A database with a directory, and what an operator types beside it."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "miss.sqlite"

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """Run a command in this process; returns all that it says."""
        done = CliRunner().invoke(
            app,
            [*words, "--domain", DOMAIN],
            env={"MISS_DATABASE": str(self.database), "COLUMNS": "300"} | variables,
        )
        assert done.exit_code == status, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.output

    def invite(self, inviter: int | None, *persons: int) -> None:
        """Somebody of the register, or somebody unknown to it, invites people."""

        async def work() -> None:
            store = SqliteStore(self.database)
            store.open()
            own = None if inviter is None else person(inviter)
            address = new_address(bytes([inviter or 0]) * 16, DOMAIN)
            account = await store.create(own, "=Cabinet Fictif", address, now_ms=now_ms())
            for one in persons:
                await store.invite_person(account, person(one), now_ms=now_ms())
            await store.close()

        asyncio.run(work())

    def waiting(self) -> dict[str, list[str]]:
        """Whom a letter waits for, and by whom they are invited."""
        said = self.run("invitations", "list", "--json")
        found = [json.loads(line) for line in said.splitlines()]
        return {one["person"]: one["invited_by"] for one in found}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with eight people, of whom five have a mailbox."""
    folder = tmp_path_factory.mktemp("directory")
    people = folder / f"PS_LibreAcces_Personne_activite_{STAMP}.txt"
    register.write(people, *(register.activity(n, name=f"Fictif{n}") for n in range(1, 9)))
    mailboxes = folder / sources.MAILBOX_STAMPED
    names = {2: "two", 3: "refused-three", 4: "broken-four", 5: "five", 6: "six"}
    sources.write_mailboxes(
        mailboxes,
        *(
            sources.mailbox("PER", f"{name}@mss.example", national=person(n), name=f"Fictif{n}")
            for n, name in names.items()
        ),
    )
    database = folder / "miss.sqlite"
    words = ("directory", "import", str(people), str(mailboxes), "--domain", DOMAIN)
    miss_server(*words, database=database)
    return database


@pytest.fixture
def operator(directory: Path, tmp_path: Path) -> Operator:
    """An operator of a database of their own, with that directory."""
    made = Operator(tmp_path)
    made.database.write_bytes(directory.read_bytes())
    return made


@contextmanager
def mail_server(folder: Path, *words: str) -> Iterator[str]:
    """A mail server in a process of its own; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mail_server", str(folder), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def certificates(folder: Path) -> tuple[list[str], dict[str, str]]:
    """A certificate for the mail server, and whom its clients must believe."""
    files = Files(folder)
    files.write("127.0.0.1", "localhost")
    authority = folder / "authority.pem"
    files.authority.cert_pem.write_to_path(str(authority))
    words = ["--certificate", str(files.certificate), "--key", str(files.key)]
    return words, {"MISS_SMTP_CA": str(authority), "MISS_SMTP_FROM": "miss@operator.example"}


def test_what_waits_is_listed_and_exported_and_noted_as_sent(
    operator: Operator, tmp_path: Path
) -> None:
    operator.invite(1, 2, 7)
    operator.invite(None, 2)
    gp = "Docteur Camille Fictif1, Médecin"
    assert operator.waiting() == {person(2): [gp, "=Cabinet Fictif"], person(7): [gp]}
    said = operator.run("invitations", "list")
    assert "two@mss.example" in said
    assert "12 Rue des Tilleuls" in said
    file, folder = tmp_path / "letters.csv", tmp_path / "letters"
    words = ("invitations", "export", str(file), "--letters", str(folder))
    assert "2 letters" in operator.run(*words, "--language", "fr")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["person"] for row in rows] == [person(2), person(7)]
    assert [row["mailbox"] for row in rows] == ["two@mss.example", ""]
    assert rows[0]["invited_by"] == f"{gp}\n=Cabinet Fictif"
    assert "Bonjour Docteur Camille Fictif2" in rows[0]["text"]
    assert f"- {gp}\n- =Cabinet Fictif" in rows[0]["text"]
    letters = [path.read_text("utf-8") for path in sorted(folder.iterdir())]
    assert "59000 Lille" in letters[1]
    assert "$" not in letters[0]
    assert len(operator.waiting()) == 2  # an export is no sending
    assert "2 letters noted" in operator.run("invitations", "sent", "--file", str(file))
    assert operator.waiting() == {}
    assert "0 letters noted" in operator.run("invitations", "sent", person(2))


def test_cells_that_look_like_formulas_are_made_harmless(
    operator: Operator, tmp_path: Path
) -> None:
    operator.invite(None, 7)
    operator.run("invitations", "export", str(tmp_path / "letters.csv"))
    text = (tmp_path / "letters.csv").read_text("utf-8-sig")
    assert "'=Cabinet Fictif" in text


@pytest.mark.parametrize(
    ("transport", "scheme"), [("--starttls", "smtp"), ("--tls", "smtps")], ids=["starttls", "tls"]
)
def test_letters_go_to_secure_mailboxes_over_tls(
    operator: Operator, tmp_path: Path, transport: str, scheme: str
) -> None:
    operator.invite(1, 2, 3, 7)
    kept = tmp_path / "mail"
    kept.mkdir()
    words, variables = certificates(tmp_path)
    login = ["--user", "miss", "--password", "secret"] if transport == "--starttls" else []
    if login:
        variables |= {"MISS_SMTP_USER": "miss", "MISS_SMTP_PASSWORD": "secret"}
    with mail_server(kept, transport, *words, *login) as port:
        smtp = f"{scheme}://127.0.0.1:{port}"
        send = ("invitations", "send", "--smtp", smtp, "--language", "fr")
        said = operator.run(*send, status=1, **variables)
        assert "1 letters sent" in said
        assert "550 no such mailbox" in said
        again = operator.run(*send, status=1, **variables)
        assert "0 letters sent" in again
    [file] = kept.iterdir()
    assert file.name == "two@mss.example.tls.eml"
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert message["from"] == "miss@operator.example"
    assert message["subject"] == "Des confrères souhaitent vous joindre par MiSS"
    assert message["auto-submitted"] == "auto-generated"
    assert isinstance(message, email.message.EmailMessage)
    assert "- Docteur Camille Fictif1, Médecin" in message.get_content()
    # Who was refused, and who has no mailbox, still waits.
    assert set(operator.waiting()) == {person(3), person(7)}


def test_a_letter_that_breaks_off_is_never_sent_twice(operator: Operator, tmp_path: Path) -> None:
    operator.invite(1, 4, 5)
    words, variables = certificates(tmp_path)
    with mail_server(tmp_path, "--tls", *words) as port:
        smtp = f"smtps://127.0.0.1:{port}"
        said = operator.run("invitations", "send", "--smtp", smtp, status=1, **variables)
    assert "broke off" in said
    assert set(operator.waiting()) == {person(5)}
    said = operator.run("invitations", "send", "--smtp", smtp, status=1, **variables)
    assert "mail server" in said
    assert set(operator.waiting()) == {person(5)}


def test_mail_servers_that_do_not_take_a_letter(operator: Operator, tmp_path: Path) -> None:
    operator.invite(1, 5, 6)
    words, variables = certificates(tmp_path)
    with mail_server(tmp_path, "--starttls", *words, "--user", "u", "--password", "p") as port:
        send = ("invitations", "send", "--smtp", f"smtp://127.0.0.1:{port}")

        def said(**changed: str) -> str:
            return operator.run(*send, status=1, **(variables | changed))

        wrong = said(MISS_SMTP_USER="u", MISS_SMTP_PASSWORD="another-secret")
        assert "535" in wrong
        assert "another-secret" not in wrong
        another = tmp_path / "another.pem"
        trustme.CA().cert_pem.write_to_path(str(another))
        assert "CERTIFICATE_VERIFY_FAILED" in said(MISS_SMTP_CA=str(another))
        login = {"MISS_SMTP_USER": "u", "MISS_SMTP_PASSWORD": "p"}
        assert "no mail from you" in said(MISS_SMTP_FROM="unwanted@x.example", **login)
        assert "no-such-file" in said(MISS_SMTP_CA=str(tmp_path / "no-such-file"))
    assert len(operator.waiting()) == 2


def test_tls_may_be_missing_on_this_machine_alone(operator: Operator, tmp_path: Path) -> None:
    operator.invite(1, 5, 6)
    with mail_server(tmp_path) as port:
        send = ("invitations", "send", "--from", "m@x.example", "--limit", "1", "--smtp")
        assert "1 letters sent" in operator.run(*send, f"smtp://127.0.0.1:{port}")
    assert len(operator.waiting()) == 1
    assert "no mail server is set" in operator.run("invitations", "send", status=2)


@pytest.mark.parametrize(
    "url", ["mail.example", "http://h", "smtp://", "smtp://h:x", "smtp://u:p@h"]
)
def test_an_address_that_is_no_mail_servers(url: str) -> None:
    with (
        pytest.raises(PostError, match="is not smtp://"),
        connected(MailServer(url, "m@x.example")),
    ):
        pass


def test_who_refused_gets_no_letter_until_they_allow_it(operator: Operator) -> None:
    operator.invite(1, 2)
    assert "1 invitations" in operator.run("invitations", "refuse", person(2), person(3))
    assert operator.waiting() == {}
    assert "Noted" in operator.run("invitations", "allow", person(3))
    assert "had not refused" in operator.run("invitations", "allow", person(3), status=1)
    operator.invite(1, 3)
    assert list(operator.waiting()) == [person(3)]


def test_slips_of_the_operator_are_told_in_a_line(operator: Operator, tmp_path: Path) -> None:
    operator.invite(1, 2)
    text = tmp_path / "text.txt"
    for wrong in ("", "Objet $name\n\nBonjour", "Objet\n\n$patient", "Objet\n\n10 $ par mois"):
        text.write_text(wrong, "utf-8")
        with pytest.raises(TextError):
            text_of("fr", text)
        said = operator.run(
            "invitations", "export", str(tmp_path / "x.csv"), "--text", str(text), status=1
        )
        assert "the letter's text" in said
    text.write_text("Bienvenue\n\n$name : $inviters ($domain)\n", "utf-8")
    assert isinstance(text_of("fr", text), Text)
    operator.run("invitations", "export", str(tmp_path / "x.csv"), "--text", str(text))
    assert f"({DOMAIN})" in (tmp_path / "x.csv").read_text("utf-8-sig")
    operator.run("invitations", "export", str(tmp_path / "no" / "x.csv"), status=1)
    operator.run("invitations", "sent", status=2)
    operator.run("invitations", "sent", "--file", str(tmp_path / "none.csv"), status=1)
    assert "no column" in operator.run("invitations", "sent", "--file", str(text), status=1)


def test_who_left_the_directory_is_told_and_written_no_letter(operator: Operator) -> None:
    operator.invite(1, 2)

    async def work() -> None:
        store = SqliteStore(operator.database)
        store.open()
        account = new_address(bytes([1]) * 16, DOMAIN)
        await store.invite_person(account, "899999999999", now_ms=now_ms())
        await store.close()

    asyncio.run(work())
    said = operator.run("invitations", "list")
    assert "No longer in the directory" in said
    assert "899999999999" in said
    assert list(operator.waiting()) == [person(2)]
