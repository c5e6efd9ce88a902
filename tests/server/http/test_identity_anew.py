"""Identities that are proven anew, by their own person and in time: spec 10 §2.4."""

from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from miss_protocol import sign_in
from miss_protocol.identity import proof
from miss_protocol.ids import parse_address
from tests.support.devices import Person
from tests.support.provider import claims_of
from tests.support.signing_in import PATH, App, Place, code_on, enrolled, post
from tests.support.wire import Device, beside, code_of, enrol_body, new_account, open_call

pytestmark = pytest.mark.timeout(90)


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


async def test_an_account_opens_so_many_renewals_and_another_is_not_held_up(place: Place) -> None:
    one, other = [
        Device(place.server, (await enrolled(place, place.newcomer())).person) for _ in range(2)
    ]
    answers = [await one.call("POST", "/v1/identity/renewals") for _ in range(31)]
    assert [answer.status_code for answer in answers[:30]] == [201] * 30
    assert code_of(answers[30]) == "rate_limited"
    assert (await other.call("POST", "/v1/identity/renewals")).status_code == 201
