"""What calls need to succeed: codes, links, recoveries and sign-ins that are really under way.

Made anew for each call, since most of it works once. Whose fields a made-up body has get these values, so
that what comes of them is asked for, too, and not only that they are refused.
"""

import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from miss_protocol import api, limits, sign_in
from miss_protocol.account import Attest
from miss_protocol.identity import charter
from tests.support.devices import Person
from tests.support.provider import claims_of
from tests.support.signing_in import PATH, App, Place, code_on, post
from tests.support.wire import (
    Device,
    beside,
    enrol_body,
    enrolled,
    new_account,
    now_ms,
    server_info,
)

AIDE = "local.members.s-12"
"""Without a national number, and of no organisation."""
SECRETARY, EMPLOYED = "local.members.s-13", "local.members.s-14"
"""Of the one that the tests know; the second has devices."""

Fields = Mapping[str, Any]
Seed = Callable[[Place, Device], Awaitable[Fields]]


@dataclass
class Seeds:
    """Makes them, at one server."""

    place: Place
    people: list[str] = field(default_factory=list)
    """Who has not signed in yet."""
    employed: Device | None = None

    async def of(self, label: str, device: Device) -> Fields:
        """The values for the fields of a call; what is needed beside them is done."""
        if label == "POST /v1/identity/sign-ins/confirm":
            return await self._confirmation()
        if label == "POST /v1/organisations/{organisation}/devices/end":
            if self.employed is None:
                self.employed = await enrolled(self.place.server, person=EMPLOYED)
            named = b64encode(self.employed.id).decode()
            return {"person": EMPLOYED, "devices": [named]}
        seed = SEEDS.get(label)
        return {} if seed is None else await seed(self.place, device)

    async def _confirmation(self) -> Fields:
        who = self.people.pop() if len(self.people) > 1 else self.people[0]
        await self.place.provider.control(person=claims_of(who))
        app = await App.begin(self.place)
        code = code_on(await app.browse())
        return _built(sign_in.SignInConfirm(app.opened.sign_in, code, app.body))


def _built(body: msgspec.Struct) -> Fields:
    built: Fields = msgspec.to_builtins(body)
    return built


async def _enrolment(place: Place, device: Device) -> Fields:
    account, code = await new_account(place.server)
    return _built(await enrol_body(place.server, Person(account), code))


async def _begin(place: Place, device: Device) -> Fields:
    opened = await post(place, PATH, {}, sign_in.SignInOpened)
    return _built(sign_in.SignInBegin(opened.sign_in, "code", Person().roster.genesis))


async def _status(place: Place, device: Device) -> Fields:
    return _built(sign_in.SignInAsked((await App.begin(place)).opened.sign_in))


async def _link(place: Place, device: Device) -> Fields:
    answer = await device.call("POST", "/v1/links/invitations")
    invited = msgspec.json.decode(answer.content, type=api.LinkInvitation)
    another = Person(device.person.account).device.certificate
    return _built(api.LinkRequest(invited.code, another.encode(), "tablet"))


async def _recovery(place: Place, device: Device) -> Fields:
    lost, code = await enrolled(place.server), os.urandom(6).hex().upper()
    return await _recovery_of(place, lost, code)


async def _recovery_of(place: Place, lost: Device, code: str) -> Fields:
    account, now = lost.person.account, now_ms()
    async with beside(place.server) as store:
        await store.add_recovery_code(account, code, expires_ms=now + 60_000, now_ms=now)
    return _built(await enrol_body(place.server, Person(account), code))


async def _veto(place: Place, device: Device) -> Fields:
    fields = await _recovery_of(place, device, os.urandom(6).hex().upper())
    await post(place, "/v1/recoveries", fields, msgspec.Raw)
    return {}


async def _roster(place: Place, device: Device) -> Fields:
    return _built(api.RosterProposed(device.person.roster.encode()))


async def _charter(place: Place, device: Device) -> Fields:
    shown = (await server_info(place.server)).charter
    accepted = charter.accept(
        device.key,
        device.person.device.certificate,
        version=shown.version,
        text_hash=shown.hash,
        at_ms=now_ms(),
    )
    return _built(api.CharterSigned(shown.version, shown.hash, accepted.at_ms, accepted.signature))


async def _attestation(place: Place, device: Device) -> Fields:
    return {"person": AIDE}


async def _withdrawal(place: Place, device: Device) -> Fields:
    answer = await device.call("POST", "/v1/attestations", Attest(AIDE))
    assert answer.is_success, answer.content
    return {"person": AIDE}


async def _own_person(place: Place, device: Device) -> Fields:
    return {"person": SECRETARY}


async def _stranger(place: Place, device: Device) -> Fields:
    return {"account": (await enrolled(place.server)).person.account, "act": "block"}


async def _code_wanted(place: Place, device: Device) -> Fields:
    return {"request": b64encode(os.urandom(limits.NONCE_BYTES // 2)).decode()}


SEEDS: dict[str, Seed] = {
    "POST /v1/attestations": _attestation,
    "POST /v1/attestations/withdraw": _withdrawal,
    "POST /v1/organisations/{organisation}/people": _own_person,
    "POST /v1/organisations/{organisation}/people/end": _own_person,
    "POST /v1/contacts": _stranger,
    "POST /v1/enrolment/preview": _enrolment,
    "POST /v1/enrolment": _enrolment,
    "POST /v1/identity/sign-ins/begin": _begin,
    "POST /v1/identity/sign-ins/status": _status,
    "POST /v1/links/preview": _link,
    "POST /v1/links": _link,
    "POST /v1/links/status": _link,
    "POST /v1/recoveries/preview": _recovery,
    "POST /v1/recoveries": _recovery,
    "POST /v1/recoveries/veto": _veto,
    "POST /v1/rosters": _roster,
    "POST /v1/charter": _charter,
    "POST /v1/organisations/{organisation}/codes": _code_wanted,
}
