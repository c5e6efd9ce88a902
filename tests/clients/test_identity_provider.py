"""What clients make of an identity provider's word: a real provider, real servers, and lying ones."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from miss_client import Client, ClientError, Trouble, new_device
from miss_client.calls import Calls
from miss_client.errors import RefusedByServer
from miss_client.events import Distrusted, ProofDue
from miss_client.providers import Providers
from miss_client.sign_in import read_code
from miss_protocol.errors import Code
from miss_protocol.identity import proof
from miss_protocol.sign_in import SignInBegun, SignInStatus
from tests.clients.conftest import QUICK, World, until
from tests.support import register
from tests.support.lying_proxy import Lie, lying_about_rosters
from tests.support.provider import CLIENT_ID, ProviderProcess, claims_of, running_provider
from tests.support.register import activity
from tests.support.server import DOMAIN, ServerProcess, miss_server
from tests.support.sources import finess

pytestmark = pytest.mark.timeout(90)


@dataclass
class Signing(World):
    """A world with an identity provider."""

    provider: ProviderProcess = field(default_factory=ProviderProcess)

    @property
    def trusted(self) -> Providers:
        return Providers([self.provider.discovery])

    def ways(self) -> dict[str, Any]:
        """How a user signs in: in a browser that works while the app asks, typing what it shows."""
        pages: list[asyncio.Task[Any]] = []

        def show(begun: SignInBegun) -> None:
            if begun.url:
                page = self.provider.sign_in(begun.url, self.server.url)
                pages.append(asyncio.create_task(page))

        async def ask_code(now: SignInStatus) -> str:
            page = await pages[-1]
            return str(page.text.split("<strong>")[1].split("</strong>")[0])

        return {"show": show, "ask_code": ask_code}

    async def sign_in(self, role: str, url: str = "", **how: Any) -> Client:
        """Enrol a person of the directory by the provider."""
        return await self.sign_in_as(self.person(role), role, url, **how)

    async def sign_in_as(
        self, subject: str, role: str = "somebody", url: str = "", **how: Any
    ) -> Client:
        """The same by what the provider calls them."""
        await self.provider.control(person=claims_of(subject))
        client = await new_device.enrol_by_provider(
            url or self.server.url,
            self.store(f"{role}-{len(self.clients)}"),
            device_name="phone",
            accept_charter=True,
            providers=self.trusted,
            timing=QUICK,
            **(self.ways() | how),
        )
        self.clients.append(client)
        return client

    async def watcher(self, role: str = "gp") -> Client:
        """Somebody else, enrolled by a code, who trusts the provider."""
        client = await self.enrol(role)
        client.contacts.providers = self.trusted
        return client


@pytest.fixture
async def signing(directory: Path, tmp_path: Path) -> AsyncIterator[Signing]:
    database = tmp_path / "miss.sqlite"
    database.write_bytes(directory.read_bytes())
    async with running_provider() as provider:
        server = ServerProcess(
            database, tmp_path / "server.log", domain=DOMAIN, settings=provider.settings()
        )
        await server.start()
        made = Signing(server, tmp_path, provider=provider)
        try:
            yield made
        finally:
            await made.close()
            await server.kill()


async def seen(watcher: Client, whom: Client) -> str:
    await watcher.contacts.refresh(whom.account)
    contact = watcher.contact(whom.account)
    assert contact is not None
    return contact.attested


async def test_who_must_prove_it_anew_is_told_on_a_connection(signing: Signing) -> None:
    nurse = await signing.sign_in("nurse")
    await signing.server.stop()
    signing.server.settings["MISS_PROVIDER_RENEW_DAYS"] = "365"
    await signing.server.start()
    assert await nurse.notices.look() == []
    with closing(sqlite3.connect(signing.server.database, timeout=30)) as db, db:
        db.execute("UPDATE proofs SET proved_ms = proved_ms - 1000 * ?", (350 * 24 * 3600,))
    nurse.notices.asked_ms = None
    events = nurse.events()
    async with nurse:
        told = await until(events, ProofDue)
        assert told.ends > told.renew_by
        nurse.contacts.providers = signing.trusted
        await nurse.prove_identity(**signing.ways())
        assert await nurse.notices.look() == []


async def test_who_signed_in_is_vouched_for_to_contacts_by_the_provider(signing: Signing) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.watcher()
    assert await seen(gp, nurse) == "provider"
    contact = gp.contact(nurse.account)
    assert contact is not None
    assert contact.vouched is not None
    assert (contact.vouched.name, contact.vouched.level) == ("Agathe FICTIVE", "eidas1")
    assert gp.vault.info.provider_clients == {signing.provider.issuer: CLIENT_ID}
    own = nurse.contact(nurse.account)
    assert own is not None
    assert (own.attested, own.person) == ("provider", signing.person("nurse"))
    async with gp, nurse:
        id = await gp.send([nurse.account], "Bonjour")
        assert (await gp.wait_for_state(id, "delivered")).state == "delivered"


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("", "ANS20231122132732"),  # as the provider's sandbox numbers its people
        ("8", "ANS20231122132732"),
        ("3", f"3{finess(1)}/S-12"),  # numbered by an establishment
        ("5", "512345678901234/0001"),
    ],
)
async def test_who_has_no_number_of_a_register_is_found_by_the_providers(
    signing: Signing, kind: str, subject: str
) -> None:
    number = subject.removeprefix(kind)
    people = activity(1, type=kind, number=number), activity(2, number=signing.person("gp")[1:])
    file = register.write(signing.folder / "people.txt", *people)
    words = ("directory", "import", str(file), "--test-identifiers", "--max-gone", "100")
    miss_server(*words, "--domain", DOMAIN, database=signing.server.database)
    newcomer, gp = await signing.sign_in_as(subject), await signing.watcher()
    assert await seen(gp, newcomer) == "provider"
    contact = gp.contact(newcomer.account)
    assert contact is not None
    assert contact.person == kind + number
    shown = await gp.person(contact.person)
    assert (shown.name, shown.account) == ("NOM1", newcomer.account)


async def test_the_finding_outlives_the_providers_keys_and_its_absence(signing: Signing) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.watcher()
    assert await seen(gp, nurse) == "provider"
    await signing.provider.control(rotate=True)
    gp.contacts.providers = signing.trusted  # a process that knows no keys yet
    assert await seen(gp, nurse) == "provider"
    # Whoever comes later finds no key for the old token: that is no lie of the server's.
    pharmacist = await signing.watcher("pharmacist")
    events = pharmacist.events()
    assert await seen(pharmacist, nurse) == "operator"
    with pytest.raises(ClientError) as told:
        await nurse.prove_identity(**signing.ways())
    assert told.value.trouble is Trouble.PROVIDER_UNTRUSTED
    nurse.contacts.providers = signing.trusted
    assert await nurse.prove_identity(**signing.ways()) == "provider"
    assert await seen(pharmacist, nurse) == "provider"
    pharmacist.hub.tell(Distrusted("the end", ""))
    assert (await until(events, Distrusted)).account == "the end"
    await signing.provider.stop()
    assert await seen(gp, nurse) == "provider"


async def test_while_the_provider_is_away_the_operator_vouches_and_it_is_tried_again(
    signing: Signing,
) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.watcher()
    for odd in ({"down": ["discovery"]}, {"down": ["certs"]}, {"issuer": "https://else.example"}):
        await signing.provider.control(reset=True, **odd)
        gp.contacts.providers = signing.trusted
        assert await seen(gp, nurse) == "operator"
    await signing.provider.control(reset=True)
    again = signing.reopen_path(await closed(signing, gp))
    again.contacts.providers = signing.trusted
    async with again:
        await again.drained()
        await again.contacts.check_claims()  # as it does by itself, now or in a moment
        contact = again.contact(nurse.account)
    assert contact is not None
    assert contact.attested == "provider"


async def closed(signing: Signing, client: Client) -> Path:
    path = client.vault.store.path
    signing.clients.remove(client)
    await client.close()
    return path


async def lied_to(signing: Signing, watcher: Client, whom: Client, lie: Lie) -> str:
    """What a client shows of an account after a server lied about it; it must have been told."""
    events = watcher.events()
    async with lying_about_rosters(signing.server.url, lie) as url:
        calls = Calls(url, watcher.vault)
        watcher.contacts._calls = calls
        try:
            await watcher.contacts.refresh(whom.account)
        finally:
            watcher.contacts._calls = watcher.calls
            await calls.close()
    assert await until(events, Distrusted) == Distrusted(whom.account, "proof")
    contact = watcher.contact(whom.account)
    assert contact is not None
    return contact.attested


def replacing(**values: Any) -> Lie:
    return lambda said: said.update(values)


async def test_a_server_that_claims_the_provider_and_shows_nothing_is_caught(
    signing: Signing,
) -> None:
    nurse, gp = await signing.enrol("nurse"), await signing.watcher()
    assert await lied_to(signing, gp, nurse, replacing(attested="provider")) == "operator"


async def test_a_token_of_another_account_or_person_is_caught(signing: Signing) -> None:
    nurse, pharmacist = await signing.sign_in("nurse"), await signing.sign_in("pharmacist")
    cardiologist, gp = await signing.enrol("cardiologist"), await signing.watcher()
    shown: dict[str, Any] = {}
    async with lying_about_rosters(signing.server.url, shown.update) as url:
        calls = Calls(url, gp.vault)
        await calls.get(f"/v1/accounts/{nurse.account}/rosters", msgspec.Raw, after="0")
        await calls.close()
    # Another genesis than the token's: an account that the server founded itself, say.
    lie = replacing(attested="provider", proof=shown["proof"], person=signing.person("nurse"))
    assert await lied_to(signing, gp, cardiologist, lie) == "operator"
    # The right genesis, under another person's number.
    lie = replacing(person=signing.person("cardiologist"))
    assert await lied_to(signing, gp, pharmacist, lie) == "operator"
    # A person that changes after the finding takes it back.
    assert await seen(gp, nurse) == "provider"
    assert await lied_to(signing, gp, nurse, lie) == "operator"
    assert await seen(gp, nurse) == "provider"


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-8] + "AAAAAAAA",
        lambda token: "eyJhbGciOiJub25lIn0." + token.split(".")[1] + ".",
        lambda token: token.replace(".", "", 1),
        lambda token: "é" + token,
        lambda token: "W10." + token.split(".", 1)[1],
        lambda token: "A." + token.split(".", 1)[1],
    ],
    ids=["signature", "none", "parts", "text", "a list", "no JSON"],
)
async def test_a_token_that_was_tampered_with_is_caught(signing: Signing, change: Any) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.watcher()

    def lie(said: dict[str, Any]) -> None:
        said["proof"]["token"] = change(said["proof"]["token"])

    assert await lied_to(signing, gp, nurse, lie) == "operator"
    assert await seen(gp, nurse) == "provider"


async def test_a_person_whom_only_a_signed_userinfo_names_is_checked_by_both(
    signing: Signing,
) -> None:
    await signing.provider.control(userinfo="signed")
    nurse, pharmacist = await signing.sign_in("nurse"), await signing.sign_in("pharmacist")
    gp = await signing.watcher()
    other = pharmacist.contact(pharmacist.account)
    assert other is not None
    assert other.vouched is not None
    for userinfo in (other.vouched.userinfo, other.vouched.token, "no.JWS.", None):

        def lie(said: dict[str, Any], userinfo: str | None = userinfo) -> None:
            said["proof"].pop("userinfo")
            said["proof"] |= {} if userinfo is None else {"userinfo": userinfo}

        assert await lied_to(signing, gp, nurse, lie) == "operator"
    assert await seen(gp, nurse) == "provider"
    contact = gp.contact(nurse.account)
    assert contact is not None
    assert contact.vouched is not None
    assert contact.vouched.userinfo


async def test_a_token_that_was_given_to_somebody_else_than_the_operator_is_caught(
    signing: Signing,
) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.watcher()
    info = gp.vault.info
    info.provider_clients[signing.provider.issuer] = "another relying party"
    with gp.vault.store.transaction():
        gp.vault.put_info(info)
    assert await lied_to(signing, gp, nurse, lambda said: None) == "operator"


async def test_a_provider_that_this_application_does_not_know_vouches_for_nobody(
    signing: Signing,
) -> None:
    nurse, gp = await signing.sign_in("nurse"), await signing.enrol("gp")
    assert await seen(gp, nurse) == "operator"
    with pytest.raises(ClientError) as told:
        await new_device.enrol_by_provider(
            signing.server.url,
            signing.store("nobody"),
            device_name="phone",
            accept_charter=True,
            providers=Providers(["https://elsewhere.example/.well-known/openid-configuration"]),
            **signing.ways(),
        )
    assert told.value.trouble is Trouble.PROVIDER_UNTRUSTED


@pytest.mark.parametrize("what", ["nonce", "client_id", "page"])
async def test_a_server_that_sends_its_user_to_vouch_for_something_else_is_not_followed(
    signing: Signing, what: str
) -> None:
    def lie(said: dict[str, Any]) -> None:
        if said.get("url"):
            before, _, after = said["url"].partition(f"{what}=")
            said["url"] = f"{before}{what}={proof.nonce(bytes(32))}&{after.partition('&')[2]}"
            if what == "page":
                said["url"] = said["url"].replace("/wallet/auth", "/wallet/other")

    async with lying_about_rosters(signing.server.url, lie) as url:
        with pytest.raises(ClientError) as told:
            await signing.sign_in("nurse", url)
    assert told.value.trouble is Trouble.SERVER


async def test_a_server_that_gives_the_account_to_a_token_of_another_is_caught(
    signing: Signing,
) -> None:
    def lie(said: dict[str, Any]) -> None:
        if "attested" in said:
            said["person"] = signing.person("gp")

    async with lying_about_rosters(signing.server.url, lie) as url:
        with pytest.raises(ClientError) as told:
            await signing.sign_in("nurse", url)
    assert told.value.trouble is Trouble.SERVER


async def test_a_sign_in_goes_on_with_the_same_store_and_asks_for_a_wrong_code_again(
    signing: Signing,
) -> None:
    await signing.provider.control(
        person=claims_of(signing.person("nurse")), refuse="access_denied"
    )
    store = signing.store("nurse")
    ways = signing.ways()
    tried: list[str] = []

    async def clumsy(now: SignInStatus) -> str:
        tried.append("x")
        right = await ways["ask_code"](now)
        return "22222-22222" if len(tried) == 1 else f"miss://signed-in?code={right}"

    async def enrol() -> Client:
        return await new_device.enrol_by_provider(
            signing.server.url,
            store,
            device_name="phone",
            accept_charter=True,
            providers=signing.trusted,
            show=ways["show"],
            ask_code=clumsy,
        )

    with pytest.raises(RefusedByServer) as refused:
        await enrol()
    assert refused.value.code is Code.SIGN_IN_REFUSED
    await signing.provider.control(refuse="")
    client = await enrol()
    signing.clients.append(client)
    assert len(tried) == 2
    with pytest.raises(ClientError) as told:
        await new_device.enrol_by_provider(
            signing.server.url,
            client.vault.store,
            device_name="phone",
            accept_charter=True,
            providers=signing.trusted,
            **ways,
        )
    assert told.value.trouble is Trouble.STORE_EXISTS


async def test_ciba_is_the_operators_word(signing: Signing) -> None:
    nurse = await signing.sign_in("nurse", method="ciba", hint=signing.person("nurse"))
    gp = await signing.watcher()
    assert await seen(gp, nurse) == "operator"
    held = await nurse.identity()
    assert (held.attested, held.level) == ("operator", "eidas1")
    nurse.contacts.providers = signing.trusted
    assert await nurse.prove_identity(**signing.ways()) == "provider"
    assert await seen(gp, nurse) == "provider"


def test_a_code_is_read_as_typed_or_as_the_link() -> None:
    assert read_code(" ABCDE-FGHJK ") == "ABCDE-FGHJK"
    assert read_code("miss://signed-in?code=ABCDE-FGHJK") == "ABCDE-FGHJK"
