"""ID tokens that name nobody, and what the provider's userinfo adds: spec 10 §3.2."""

from typing import Any

import pytest
from msgspec import UNSET

from miss_protocol import sign_in
from miss_protocol.ids import parse_address
from miss_protocol.vouching import ProofShown
from tests.support.provider import claims_of
from tests.support.signing_in import App, Place, code_on
from tests.support.wire import Device, beside

pytestmark = pytest.mark.timeout(90)


async def signed_in(place: Place, **odd: Any) -> tuple[str, App, sign_in.SignedIn]:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), **odd)
    app = await App.begin(place)
    return who, app, await app.signed_in(code_on(await app.browse()))


async def test_a_signed_userinfo_is_kept_and_shown_beside_the_token(place: Place) -> None:
    who, app, done = await signed_in(place, userinfo="signed")
    assert (done.person, done.attested) == (who, "provider")
    assert isinstance(done.proof, ProofShown)
    assert isinstance(done.proof.userinfo, str)
    async with beside(place.server) as store:
        kept = await store.proof(parse_address(app.opened.account))
    assert kept is not None
    assert (kept.token, kept.userinfo) == (done.proof.token, done.proof.userinfo)
    assert kept.userinfo.split(".")[1] not in place.server.log_text()


async def test_of_a_plain_userinfo_the_operator_vouches(place: Place) -> None:
    who, app, done = await signed_in(place, userinfo="json")
    assert (done.person, done.attested, done.proof) == (who, "operator", UNSET)
    device = Device(place.server, app.person)
    held = await device.result("GET", "/v1/identity", None, sign_in.ProofHeld)
    assert (held.attested, held.level) == ("operator", "eidas1")


async def test_a_token_that_names_its_person_is_enough(place: Place) -> None:
    who, _, done = await signed_in(place, says=claims_of("899999999999"), down=["userinfo"])
    assert (done.person, done.attested) == (who, "provider")
    assert isinstance(done.proof, ProofShown)
    assert done.proof.userinfo is UNSET


@pytest.mark.parametrize("way", ["json", "signed"])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"says": {"sub": "f:0:somebody-else"}}, "identity_unproven: subject"),
        ({"says": {"sub": None}}, "identity_unproven: subject"),
        ({"says": {"SubjectNameID": None, "otherIds": None}}, "identity_unproven: person"),
        ({"says": {"iss": "https://elsewhere.example"}}, "identity_unproven: issuer"),
        ({"says": {"aud": "another"}}, "identity_unproven: audience"),
        ({"down": ["userinfo"]}, "provider_unreachable"),
        ({"access": ""}, "identity_unproven: person"),
        ({"access": "of another"}, "identity_unproven: person"),
        ({"access": "of-another"}, "provider_unreachable"),
    ],
    ids=str,
)
async def test_a_userinfo_that_proves_nobody(
    place: Place, way: str, odd: dict[str, Any], told: str
) -> None:
    await place.provider.control(person=claims_of(place.people[0]), userinfo=way, **odd)
    app = await App.begin(place)
    assert f"[{told}]" in (await app.browse()).text


@pytest.mark.parametrize(
    ("sign", "reason"),
    [("none", "algorithm"), ("other_key", "signature"), ("garbage", "malformed")],
)
async def test_a_userinfo_with_another_signature(place: Place, sign: str, reason: str) -> None:
    odd = {"userinfo": "signed", "userinfo_sign": sign}
    await place.provider.control(person=claims_of(place.people[0]), **odd)
    app = await App.begin(place)
    assert f"[identity_unproven: {reason}]" in (await app.browse()).text


@pytest.mark.parametrize(
    "odd", [{"delay": 3600.0}, {"oversized": True}, {"not_json": True}], ids=str
)
async def test_a_userinfo_that_does_not_come_keeps_no_browser_waiting(
    place: Place, odd: dict[str, Any]
) -> None:
    who = place.newcomer()
    await place.provider.control(person=claims_of(who), userinfo="signed", slow=["userinfo"], **odd)
    app = await App.begin(place)
    assert "[provider_unreachable]" in (await app.browse()).text
    told = await app.status()
    assert (told.stage, told.code) == ("failed", "provider_unreachable")
    await place.provider.control(slow=[])
    await app.again()
    assert (await app.signed_in(code_on(await app.browse()))).person == who
