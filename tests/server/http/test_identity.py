"""Sign-ins at an identity provider: a real provider's process, our server's process, a browser's GETs."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from miss_protocol import api, sign_in
from miss_protocol.identity import proof
from miss_protocol.ids import parse_address
from miss_server.config import Settings
from miss_server.importers.generate import DEMO_PEOPLE
from miss_server.provider import settings as provider_settings
from miss_server.provider.signing_in import KEPT_SECONDS, Provider
from tests.support.devices import Person
from tests.support.people import people_directory
from tests.support.provider import claims_of
from tests.support.server import DOMAIN, ServerProcess
from tests.support.signing_in import PATH, App, Place, code_on, enrolled, post
from tests.support.wire import Device, beside, code_of, enrol_body, new_account, open_call

pytestmark = pytest.mark.timeout(90)
GP, NURSE = DEMO_PEOPLE["gp"].national, DEMO_PEOPLE["nurse"].national


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


async def test_keys_are_asked_for_again_after_a_while(place: Place) -> None:
    """One that was withdrawn, since it was stolen, is not believed for as long as a server runs."""
    chosen = provider_settings.of(Settings.model_validate(_settings_of(place)))
    assert chosen is not None
    provider = Provider(chosen)
    try:
        first = await provider.keys()
        assert await provider.keys() is first
        provider._keys_since -= KEPT_SECONDS + 1  # an hour later, say
        assert await provider.keys() is not first
    finally:
        await provider.close()


def _settings_of(place: Place) -> dict[str, str]:
    given = place.provider.settings()
    named = {name.removeprefix("MISS_").lower(): value for name, value in given.items()}
    return {"domain": DOMAIN, "database": "unused.sqlite", **named}


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


async def test_a_genesis_of_another_account_or_another_genesis_is_not_founded(
    place: Place,
) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who))
    app = await App.begin(place)
    code = code_on(await app.browse())
    right = app.body
    elsewhere, twin = Person(), Person(app.person.account)
    for other in (elsewhere, twin):
        app.body = await enrol_body(place.server, other, "")
        assert code_of(await app.confirm(code)) == "untrusted"
    app.body = msgspec.structs.replace(right, prekeys=right.prekeys[:-1])  # no last resort
    assert code_of(await app.confirm(code)) == "untrusted"
    body = {"sign_in": app.opened.sign_in, "confirmation": code}
    answer = await open_call(place.server, "POST", f"{PATH}/confirm", body)
    assert code_of(answer) == "malformed"
    async with beside(place.server) as store:
        assert await store.find(app.person.account) is None
    app.body = right
    await app.signed_in(code)


async def test_what_is_no_beginning_is_not_begun(place: Place) -> None:
    opened = await post(place, PATH, {}, sign_in.SignInOpened)
    missing = {"sign_in": opened.sign_in, "method": "code"}
    short = {**missing, "genesis": "AAAA"}
    wrong: list[object] = [missing, short, {**missing, "method": "saml"}, [], {"sign_in": "x" * 65}]
    for body in wrong:
        answer = await open_call(place.server, "POST", f"{PATH}/begin", body)
        assert code_of(answer) == "malformed"
    unknown = sign_in.SignInAsked("nobody's")
    answer = await open_call(place.server, "POST", f"{PATH}/status", unknown)
    assert code_of(answer) == "sign_in_unknown"


async def open_many(server: ServerProcess, count: int) -> None:
    """So many sign-ins opened on one connection, none of them refused."""
    where = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    for _ in range(count):
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201"), head
        [size] = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
        await reader.readexactly(int(size.split(b":")[1]))
    writer.close()


async def test_staff_sign_in_while_bots_at_their_address_begin_sign_ins_without_pause(
    place: Place,
) -> None:
    """3,000 an hour were an address's once, so that nobody there signed in any more."""
    await open_many(place.server, 3_001)
    done, begun = asyncio.Event(), asyncio.Event()
    genesis = msgspec.to_builtins(Person().roster.genesis)

    async def bot() -> None:
        opened = await post(place, PATH, {}, sign_in.SignInOpened)
        body = {"sign_in": opened.sign_in, "method": "code", "genesis": genesis}
        while not done.is_set():
            await post(place, f"{PATH}/begin", body, sign_in.SignInBegun)
            begun.set()

    async with asyncio.TaskGroup() as bots:
        for _ in range(4):
            bots.create_task(bot())
        await begun.wait()
        for _ in range(3):
            await enrolled(place, place.newcomer())
        done.set()


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


ODD = [{"delay": 3600.0}, {"oversized": True}, {"not_json": True}]
"""A provider that answers in an hour, by two million characters, or in another language."""


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_a_discovery_document_that_does_not_come_keeps_nobody_waiting(
    place: Place, tmp_path: Path, odd: dict[str, Any]
) -> None:
    people = people_directory(tmp_path)
    fresh = ServerProcess(
        tmp_path / "miss.sqlite", tmp_path / "log", DOMAIN, settings=place.provider.settings()
    )
    await fresh.start()
    here = Place(fresh, place.provider)
    opened = await post(here, PATH, {}, sign_in.SignInOpened)
    person = Person(parse_address(opened.account))
    app = App(here, opened, person, await enrol_body(fresh, person, ""))
    await place.provider.control(slow=["discovery"], **odd)
    answers = await asyncio.gather(*(app.asked_to_begin() for _ in range(8)))
    assert {code_of(answer) for answer in answers} == {"provider_unreachable"}
    assert (await app.status()).stage == "open"
    await place.provider.control(reset=True, person=claims_of(people[0]))
    await app.again()
    await app.signed_in(code_on(await app.browse()))
    assert await fresh.stop() == 0


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_keys_that_do_not_come_keep_no_browser_waiting(
    place: Place, odd: dict[str, Any]
) -> None:
    await place.provider.control(person=claims_of(place.newcomer()))
    app = await App.begin(place)
    await place.provider.control(rotate=True, slow=["certs"], **odd)
    assert "[provider_unreachable]" in (await app.browse()).text
    told = await app.status()
    assert (told.stage, told.code) == ("failed", "provider_unreachable")
    await place.provider.control(slow=[])
    await app.again()
    await app.signed_in(code_on(await app.browse()))


async def test_without_a_provider_there_are_no_sign_ins(standing: ServerProcess) -> None:
    for path in (PATH, f"{PATH}/begin", f"{PATH}/status"):
        answer = await open_call(standing, "POST", path, {"sign_in": "x", "method": "code"})
        assert code_of(answer) == "unsupported"
    async with httpx2.AsyncClient() as browser:
        page = await browser.get(f"{standing.url}/v1/identity/callback?state=x&code=y")
    assert "[unsupported]" in page.text
