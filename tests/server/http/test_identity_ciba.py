"""Sign-ins that a person confirms in the provider's own app (CIBA): spec 10 §2.3."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from miss_protocol import sign_in
from miss_protocol.ids import parse_address
from miss_server.http.throttle import RINGS_PER_HOUR
from miss_server.importers.generate import DEMO_PEOPLE
from tests.support.people import people_directory
from tests.support.provider import claims_of
from tests.support.server import DOMAIN, ServerProcess
from tests.support.signing_in import App, Place, enrolled
from tests.support.wire import Device, beside, code_of

pytestmark = pytest.mark.timeout(90)
GP = DEMO_PEOPLE["gp"].national


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


@pytest.mark.parametrize("hint", ["899999999999", f" {GP}", f"{GP} "])
async def test_nobody_is_rung_by_what_the_directory_does_not_have(place: Place, hint: str) -> None:
    before = (await place.provider.control())["questions"]
    opened = await App.begin(place)
    assert code_of(await opened.asked_to_begin("ciba", hint)) == "not_in_directory"
    assert (await place.provider.control())["questions"] == before


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


async def test_a_question_that_the_provider_does_not_take_keeps_no_app_waiting(
    place: Place,
) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who))
    app = await App.begin(place)
    await place.provider.control(slow=["ciba"], delay=3600.0)
    assert code_of(await app.asked_to_begin("ciba", who)) == "provider_unreachable"
    await place.provider.control(reset=True, person=claims_of(who))
    await app.again("ciba", who)
    assert (await until_over(app)).stage == "confirmed"


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


async def test_who_has_strangers_rung_is_limited_by_address_and_browsers_are_not(
    place: Place, tmp_path: Path
) -> None:
    people = people_directory(tmp_path)
    server = ServerProcess(
        tmp_path / "miss.sqlite",
        tmp_path / "log",
        DOMAIN,
        settings=place.provider.settings(MISS_RINGS_PER_HOUR="2", MISS_TRUSTED_PROXIES="127.0.0.1"),
    )
    await server.start()
    here = Place(server, place.provider, people=people)
    for who in people[:2]:
        await place.provider.control(person=claims_of(who), ciba="authorization_pending")
        app = await App.begin(here, "ciba", who)
    await place.provider.control(person=claims_of(people[2]))
    for _ in range(RINGS_PER_HOUR + 1):
        assert code_of(await app.asked_to_begin("ciba", people[2])) == "rate_limited"
    # None of these rang, so the person may still be asked from elsewhere.
    assert (await app.asked_to_begin("ciba", people[2], "192.0.2.9")).is_success
    await enrolled(here, people[2])
    assert await server.stop() == 0
