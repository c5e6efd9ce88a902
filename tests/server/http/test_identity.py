"""Sign-ins at an identity provider: a real provider's process, our server's process, a browser's GETs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest
import pytest_asyncio

from miss_protocol import api, sign_in
from miss_protocol.identity import proof
from miss_protocol.ids import parse_address
from miss_server.importers.generate import DEMO_PEOPLE
from tests.support.devices import Person
from tests.support.people import people_directory
from tests.support.provider import ProviderProcess, claims_of, running_provider
from tests.support.server import DOMAIN, ServerProcess
from tests.support.wire import (
    Device,
    beside,
    code_of,
    enrol_body,
    new_account,
    open_call,
)

pytestmark = pytest.mark.timeout(90)
T = TypeVar("T")
PATH = "/v1/identity/sign-ins"
GP, NURSE = DEMO_PEOPLE["gp"].national, DEMO_PEOPLE["nurse"].national


@dataclass
class Place:
    """A server of ours and the provider that it knows."""

    server: ServerProcess
    provider: ProviderProcess
    used: int = 0

    def newcomer(self) -> str:
        """A national identifier of the directory that no test has used."""
        self.used += 1
        return self.people[self.used]

    people: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def standing_place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("identity")
    people = people_directory(folder)
    async with running_provider() as provider:
        server = ServerProcess(
            folder / "miss.sqlite",
            folder / "server.log",
            domain=DOMAIN,
            settings=provider.settings(
                MISS_TRUSTED_PROXIES="127.0.0.1", MISS_PROVIDER_RENEW_DAYS="365"
            ),
        )
        await server.start()
        yield Place(server, provider, people=people)
        assert await server.stop() == 0, server.log_text()
        assert "Traceback" not in server.log_text()


@pytest.fixture
async def place(standing_place: Place) -> Place:
    await standing_place.provider.control(reset=True)
    return standing_place


async def post(place: Place, path: str, body: object, kind: type[T]) -> T:
    answer = await open_call(place.server, "POST", path, body)
    assert answer.is_success, answer.content
    return msgspec.json.decode(answer.content, type=kind)


@dataclass
class App:
    """An app in the middle of a sign-in."""

    place: Place
    opened: sign_in.SignInOpened
    person: Person
    body: api.Enrol
    begun: sign_in.SignInBegun | None = None

    @classmethod
    async def begin(cls, place: Place, method: str = "code", hint: str = "") -> "App":
        opened = await post(place, PATH, {}, sign_in.SignInOpened)
        person = Person(parse_address(opened.account))
        app = cls(place, opened, person, await enrol_body(place.server, person, ""))
        await app.again(method, hint)
        return app

    async def again(self, method: str = "code", hint: str = "") -> None:
        answer = await self.asked_to_begin(method, hint)
        assert answer.is_success, answer.content
        self.begun = msgspec.json.decode(answer.content, type=sign_in.SignInBegun)

    async def asked_to_begin(self, method: str = "code", hint: str = "") -> httpx2.Response:
        body = {
            "sign_in": self.opened.sign_in,
            "method": method,
            "enrol": msgspec.to_builtins(self.body),
            "hint": hint,
        }
        return await open_call(self.place.server, "POST", f"{PATH}/begin", body)

    @property
    def url(self) -> str:
        assert self.begun is not None
        return self.begun.url

    async def browse(self, **headers: str) -> httpx2.Response:
        return await self.place.provider.sign_in(self.url, self.place.server.url, **headers)

    async def status(self) -> sign_in.SignInStatus:
        body = sign_in.SignInAsked(self.opened.sign_in)
        return await post(self.place, f"{PATH}/status", body, sign_in.SignInStatus)

    async def confirm(self, code: str) -> httpx2.Response:
        body = sign_in.SignInConfirm(self.opened.sign_in, code)
        return await open_call(self.place.server, "POST", f"{PATH}/confirm", body)

    async def signed_in(self, code: str) -> sign_in.SignedIn:
        answer = await self.confirm(code)
        assert answer.is_success, answer.content
        return msgspec.json.decode(answer.content, type=sign_in.SignedIn)


def code_on(page: httpx2.Response) -> str:
    """What the page shows in large letters."""
    assert page.status_code == 200, page.text
    return page.text.split("<strong>")[1].split("</strong>")[0]


async def enrolled(place: Place, who: str) -> App:
    await place.provider.control(person=claims_of(who))
    app = await App.begin(place)
    await app.signed_in(code_on(await app.browse()))
    return app


async def test_a_person_of_the_directory_signs_in_and_is_enrolled(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who))
    app = await App.begin(place)
    asked = parse_qs(urlsplit(app.url).query)
    assert asked["nonce"] == [proof.nonce(app.person.roster.genesis)]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["acr_values"] == ["eidas1"]
    assert asked["scope"] == ["openid scope_all"]
    assert (await app.status()).stage == "waiting"
    page = await app.browse(**{"accept-language": "fr"})
    assert "Vous êtes identifié" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    shown = await app.status()
    assert (shown.stage, shown.person) == ("signed_in", who)
    done = await app.signed_in(code_on(page).lower())
    assert (done.account, done.attested) == (app.opened.account, "provider")
    assert await app.signed_in(code_on(page)) == done  # the reply was lost
    assert (await app.status()).stage == "done"
    device = Device(place.server, app.person)
    async with device.online() as line:
        await line.caught_up()
    answer = await device.result(
        "GET", f"/v1/accounts/{app.opened.account}/rosters?after=0", None, api.Rosters
    )
    assert (answer.person, answer.attested) == (who, "provider")
    assert answer.proof == done.proof
    held = await device.result("GET", "/v1/identity", None, sign_in.ProofHeld)
    assert (held.attested, held.level, held.due) == ("provider", "eidas1", False)
    info = msgspec.json.decode(
        (await open_call(place.server, "GET", "/v1/server", None)).content, type=api.ServerInfo
    )
    assert info.provider == app.opened.provider


async def test_what_is_logged_and_kept_names_no_token(place: Place) -> None:
    who = place.newcomer()
    app = await enrolled(place, who)
    async with beside(place.server) as store:
        kept = await store.proof(parse_address(app.opened.account))
    assert kept is not None
    log = place.server.log_text()
    for secret in (kept.token, kept.token.split(".")[1], app.opened.sign_in, who):
        assert secret not in log


@pytest.mark.parametrize(
    ("odd", "code", "reason"),
    [
        ({"claims": {"iss": "https://elsewhere.example"}}, "identity_unproven", "issuer"),
        ({"claims": {"aud": "another"}}, "identity_unproven", "audience"),
        ({"claims": {"azp": "another"}}, "identity_unproven", "audience"),
        ({"claims": {"nonce": "A" * 43}}, "identity_unproven", "nonce"),
        ({"claims": {"nonce": None}}, "identity_unproven", "nonce"),
        ({"claims": {"iat": -300, "exp": -180}}, "identity_unproven", "expired"),
        ({"claims": {"iat": -300}}, "identity_unproven", "issued"),
        ({"claims": {"iat": 300, "exp": 400}}, "identity_unproven", "issued"),
        ({"claims": {"acr": "eidas0"}}, "identity_unproven", "assurance"),
        ({"claims": {"SubjectNameID": None, "otherIds": None}}, "identity_unproven", "person"),
        ({"claims": {"iat": None}}, "identity_unproven", "malformed"),
        ({"sign": "none"}, "identity_unproven", "algorithm"),
        ({"sign": "hs256"}, "identity_unproven", "algorithm"),
        ({"sign": "other_key"}, "identity_unproven", "signature"),
        ({"sign": "unknown_kid"}, "identity_unproven", "key"),
        ({"sign": "garbage"}, "identity_unproven", "malformed"),
        ({"sign": "missing"}, "identity_unproven", "malformed"),
        ({"refuse": "access_denied"}, "sign_in_refused", ""),
        ({"token_error": "invalid_grant"}, "sign_in_refused", ""),
        ({"token_error": "invalid_client"}, "provider_unreachable", ""),
        ({"down": ["token"]}, "provider_unreachable", ""),
        ({"delay": 3.0}, "provider_unreachable", ""),
        ({"oversized": True}, "provider_unreachable", ""),
        ({"not_json": True}, "provider_unreachable", ""),
        ({"person": claims_of("899999999999")}, "not_in_directory", ""),
    ],
    ids=str,
)
async def test_what_does_not_prove_a_person_enrols_nobody(
    place: Place, odd: dict[str, Any], code: str, reason: str
) -> None:
    await place.provider.control(person=claims_of(GP))
    app = await App.begin(place)
    await place.provider.control(**odd)
    page = await app.browse()
    assert f"[{code}{': ' + reason if reason else ''}]" in page.text
    told = await app.status()
    assert (told.stage, told.code, told.reason) == ("failed", code, reason)
    assert code_of(await app.confirm("")) == "out_of_place"
    async with beside(place.server) as store:
        assert await store.find(parse_address(app.opened.account)) is None


async def test_after_a_failure_the_app_begins_again_and_the_old_link_is_dead(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), refuse="access_denied")
    app = await App.begin(place)
    await app.browse()
    old = app.url
    await place.provider.control(refuse="")
    await app.again()
    late = await place.provider.sign_in(old, place.server.url)
    assert "[sign_in_over]" in late.text
    await app.signed_in(code_on(await app.browse()))


async def test_states_and_codes_are_used_once(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who))
    app, other = await App.begin(place), await App.begin(place)
    async with httpx2.AsyncClient() as browser:
        back = urlsplit((await browser.get(app.url)).headers["location"])
        there = f"{place.server.url}{back.path}"
        first = await browser.get(f"{there}?{back.query}")
        assert "[sign_in_over]" in (await browser.get(f"{there}?{back.query}")).text
        # The same code with another sign-in's state: the provider has taken it once already.
        code = parse_qs(back.query)["code"][0]
        state = parse_qs(urlsplit(other.url).query)["state"][0]
        replayed = await browser.get(there, params={"code": code, "state": state})
        assert "[sign_in_refused]" in replayed.text
        for query in ("", "state=", "state=%00&code=x", f"state={'x' * 5000}", "code=x"):
            page = await browser.get(f"{there}?{query}")
            assert page.status_code == 410
            assert "[sign_in_over]" in page.text
    await app.signed_in(code_on(first))


async def test_a_stolen_code_of_another_sign_in_fails_by_its_pkce(place: Place) -> None:
    await place.provider.control(person=claims_of(GP))
    victim, thief = await App.begin(place), await App.begin(place)
    async with httpx2.AsyncClient() as browser:
        back = urlsplit((await browser.get(victim.url)).headers["location"])
        code = parse_qs(back.query)["code"][0]
        state = parse_qs(urlsplit(thief.url).query)["state"][0]
        page = await browser.get(
            f"{place.server.url}{back.path}", params={"code": code, "state": state}
        )
    assert "[sign_in_refused]" in page.text


async def test_an_answer_of_another_issuer_is_not_exchanged(place: Place) -> None:
    await place.provider.control(person=claims_of(GP))
    app = await App.begin(place)
    state = parse_qs(urlsplit(app.url).query)["state"][0]
    async with httpx2.AsyncClient() as browser:
        page = await browser.get(
            f"{place.server.url}/v1/identity/callback",
            params={"code": "x", "state": state, "iss": "https://elsewhere.example"},
        )
    assert "[identity_unproven: issuer]" in page.text


async def test_who_sent_somebody_else_to_the_provider_lacks_the_code_of_the_page(
    place: Place,
) -> None:
    await place.provider.control(person=claims_of(NURSE))
    thief = await App.begin(place)
    page = await thief.browse()
    for _ in range(5):
        assert code_of(await thief.confirm("22222-22222")) == "confirmation_wrong"
    assert code_of(await thief.confirm(code_on(page))) == "out_of_place"
    assert (await thief.status()).code == "confirmation_wrong"


async def test_keys_that_were_changed_are_fetched_anew(place: Place) -> None:
    await enrolled(place, place.newcomer())
    await place.provider.control(rotate=True)
    await enrolled(place, place.newcomer())


async def test_a_person_has_one_account(place: Place) -> None:
    who = place.newcomer()
    first = await enrolled(place, who)
    second = await App.begin(place)
    code = code_on(await second.browse())
    assert code_of(await second.confirm(code)) == "already_enrolled"
    async with beside(place.server) as store:
        assert await store.find(parse_address(second.opened.account)) is None
        assert await store.find(parse_address(first.opened.account)) is not None


async def test_of_two_apps_of_one_person_at_once_one_is_enrolled(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who))
    apps = [await App.begin(place) for _ in range(3)]
    codes = [code_on(await app.browse()) for app in apps]
    answers = await asyncio.gather(
        *(app.confirm(code) for app, code in zip(apps, codes, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]


async def test_an_account_that_waits_for_its_code_is_founded_under_the_new_address(
    place: Place,
) -> None:
    who = place.newcomer()
    old, code = await new_account(place.server, person=who)
    app = await enrolled(place, who)
    async with beside(place.server) as store:
        assert await store.find(old) is None
        account = await store.find(parse_address(app.opened.account))
        assert account is not None
        assert (account.person, account.enrolled) == (who, True)
    late = await enrol_body(place.server, Person(parse_address(app.opened.account)), code)
    answer = await open_call(place.server, "POST", "/v1/enrolment", late)
    assert code_of(answer) == "already_enrolled"


async def test_a_genesis_of_another_account_is_not_begun(place: Place) -> None:
    opened = await post(place, PATH, {}, sign_in.SignInOpened)
    person = Person()
    app = App(place, opened, person, await enrol_body(place.server, person, ""))
    assert code_of(await app.asked_to_begin()) == "untrusted"
    missing = {"sign_in": opened.sign_in, "method": "code"}
    wrong: list[object] = [missing, {**missing, "method": "saml"}, [], {"sign_in": "x" * 65}]
    for body in wrong:
        answer = await open_call(place.server, "POST", f"{PATH}/begin", body)
        assert code_of(answer) == "malformed"
    unknown = sign_in.SignInAsked("nobody's")
    answer = await open_call(place.server, "POST", f"{PATH}/status", unknown)
    assert code_of(answer) == "sign_in_unknown"


async def test_a_provider_that_is_away_is_told_before_anybody_is_sent_there(
    place: Place, tmp_path: Path
) -> None:
    people_directory(tmp_path)
    settings = place.provider.settings()
    await place.provider.control(down=["discovery"])
    fresh = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "log", DOMAIN, settings=settings)
    await fresh.start()
    here = Place(fresh, place.provider)
    opened = await post(here, PATH, {}, sign_in.SignInOpened)
    person = Person(parse_address(opened.account))
    app = App(here, opened, person, await enrol_body(fresh, person, ""))
    assert code_of(await app.asked_to_begin()) == "provider_unreachable"
    await place.provider.control(down=[], issuer="https://elsewhere.example")
    assert code_of(await app.asked_to_begin()) == "provider_unreachable"
    await place.provider.control(issuer="", by_form=True)
    await app.again()
    await place.provider.control(person=claims_of(GP), down=["certs"])
    assert "[provider_unreachable]" in (await app.browse()).text
    await place.provider.control(down=[])
    await app.again()
    await app.signed_in(code_on(await app.browse()))
    assert await fresh.stop() == 0


async def test_without_a_provider_there_are_no_sign_ins(standing: ServerProcess) -> None:
    for path in (PATH, f"{PATH}/begin", f"{PATH}/status"):
        answer = await open_call(standing, "POST", path, {"sign_in": "x", "method": "code"})
        assert code_of(answer) == "unsupported"
    async with httpx2.AsyncClient() as browser:
        page = await browser.get(f"{standing.url}/v1/identity/callback?state=x&code=y")
    assert "[unsupported]" in page.text


# --- CIBA -------------------------------------------------------------------------------------------


async def until_over(app: App) -> sign_in.SignInStatus:
    """Ask as an app does, until it has been decided."""
    while True:
        told = await app.status()
        if told.stage != "waiting":
            return told
        await asyncio.sleep(told.poll / 4)  # the provider's own pace: nobody tells when it is over


async def test_a_person_confirms_in_their_own_app_and_the_operator_vouches(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), ciba="authorization_pending")
    app = await App.begin(place, "ciba", who)
    assert app.begun is not None
    assert app.begun.url == ""
    asked = await place.provider.control()
    assert app.begun.message in asked["questions"].values()
    assert (await app.status()).stage == "waiting"
    polled = len((await place.provider.control())["forms"])
    for _ in range(5):
        await app.status()
    assert len((await place.provider.control())["forms"]) - polled <= 1
    await place.provider.control(ciba="approved")
    assert (await until_over(app)).stage == "confirmed"
    done = await app.signed_in("")
    assert (done.attested, done.proof) == ("operator", msgspec.UNSET)
    device = Device(place.server, app.person)
    held = await device.result("GET", "/v1/identity", None, sign_in.ProofHeld)
    assert (held.attested, held.level) == ("operator", "eidas1")
    async with beside(place.server) as store:
        kept = await store.proof(parse_address(app.opened.account))
        assert kept is not None
        assert (kept.method, kept.token) == ("ciba", "")


@pytest.mark.parametrize(
    ("ciba", "code"),
    [
        ("access_denied", "sign_in_refused"),
        ("expired_token", "sign_in_over"),
        ("invalid_grant", "sign_in_refused"),
    ],
)
async def test_a_person_who_does_not_confirm_is_not_enrolled(
    place: Place, ciba: str, code: str
) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), ciba=ciba)
    app = await App.begin(place, "ciba", who)
    told = await until_over(app)
    assert (told.stage, told.code) == ("failed", code)


async def test_who_asks_too_often_asks_more_rarely(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), ciba="slow_down")
    app = await App.begin(place, "ciba", who)
    forms = len((await place.provider.control())["forms"])
    while True:
        assert (await app.status()).stage == "waiting"
        if len((await place.provider.control())["forms"]) > forms:
            break
        await asyncio.sleep(0.2)
    async with beside(place.server) as store:
        one = await store.sign_in(app.opened.sign_in, now_ms=app.opened.expires - 1)
        assert not await store.may_poll(one, now_ms=0)
    await place.provider.control(ciba="approved")
    assert (await app.status()).stage == "waiting"  # six seconds, not one


async def test_another_person_than_was_asked_is_refused(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(
        person=claims_of(who), claims={"SubjectNameID": GP, "otherIds": []}
    )
    app = await App.begin(place, "ciba", who)
    assert (await until_over(app)).code == "another_person"


async def test_nobody_is_rung_at_will(place: Place) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), ciba="authorization_pending")
    app = await App.begin(place, "ciba", who)
    for _ in range(4):
        await app.again("ciba", who)
    assert code_of(await app.asked_to_begin("ciba", who)) == "rate_limited"
    assert code_of(await app.asked_to_begin("ciba", "")) == "malformed"
    await place.provider.control(person=claims_of(GP))
    assert code_of(await app.asked_to_begin("ciba", place.newcomer())) == "sign_in_refused"


# --- proven anew -------------------------------------------------------------------------------------


async def opened_at(place: Place) -> sign_in.SignInOpened:
    return await post(place, PATH, {}, sign_in.SignInOpened)


async def renewing(app: App, account: str = "") -> App:
    device = Device(app.place.server, app.person)
    opened = await device.result("POST", "/v1/identity/renewals", {}, sign_in.SignInOpened)
    assert opened.account == (account or app.opened.account)
    again = App(app.place, opened, app.person, app.body)
    body = {"sign_in": opened.sign_in, "method": "code"}
    answer = await open_call(app.place.server, "POST", f"{PATH}/begin", body)
    assert answer.is_success, answer.content
    again.begun = msgspec.json.decode(answer.content, type=sign_in.SignInBegun)
    return again


async def test_an_account_is_proven_anew_by_its_own_person_only(place: Place) -> None:
    who = place.newcomer()
    app = await enrolled(place, who)
    await place.provider.control(person=claims_of(place.newcomer()))
    other = await renewing(app)
    assert "[another_person]" in (await other.browse()).text
    await place.provider.control(person=claims_of(who))
    again = await renewing(app)
    asked = parse_qs(urlsplit(again.url).query)
    assert asked["nonce"] == [proof.nonce(app.person.roster.genesis)]
    done = await again.signed_in(code_on(await again.browse()))
    assert (done.account, done.attested) == (app.opened.account, "provider")


async def test_an_account_enrolled_by_a_code_is_vouched_for_by_the_provider_afterwards(
    place: Place,
) -> None:
    who = place.newcomer()
    account, code = await new_account(place.server, person=who)
    person = Person(account)
    body = await enrol_body(place.server, person, code)
    assert (await open_call(place.server, "POST", "/v1/enrolment", body)).is_success
    await place.provider.control(person=claims_of(who))
    again = await renewing(App(place, await opened_at(place), person, body), account)
    assert (await again.signed_in(code_on(await again.browse()))).attested == "provider"


async def test_who_is_not_proven_anew_is_suspended_and_comes_back_by_it(place: Place) -> None:
    who = place.newcomer()
    app = await enrolled(place, who)
    account = parse_address(app.opened.account)
    async with beside(place.server) as store:
        kept = await store.proof(account)
        assert kept is not None
        now = kept.proved_ms
        earlier = await store.lapse(before_ms=kept.proved_ms, now_ms=now)
        assert account not in [one.account for one in earlier]
        [lapsed] = [
            one
            for one in await store.lapse(before_ms=kept.proved_ms + 1, now_ms=now)
            if one.account == account
        ]
    assert lapsed.devices == (app.person.device.certificate.device,)
    device = Device(place.server, app.person)
    assert code_of(await device.call("GET", "/v1/prekeys")) == "suspended"
    held = await device.result("GET", "/v1/identity", None, sign_in.ProofHeld)
    assert held.attested == "provider"
    await place.provider.control(person=claims_of(who))
    again = await renewing(app)
    await again.signed_in(code_on(await again.browse()))
    assert (await device.call("GET", "/v1/prekeys")).is_success
    async with beside(place.server) as store:
        deeds = await store.audit_entries(subject=account)
    assert [one.action for one in deeds] == ["account_suspended", "account_reinstated"]
