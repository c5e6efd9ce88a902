"""Apps in the middle of a sign-in, at a server of ours and a provider that is really there."""

from dataclasses import dataclass, field
from typing import TypeVar

import httpx2
import msgspec

from miss_protocol import api, sign_in
from miss_protocol.ids import parse_address
from tests.support.devices import Person
from tests.support.provider import ProviderProcess, claims_of
from tests.support.server import ServerProcess
from tests.support.wire import enrol_body, open_call

T = TypeVar("T")
PATH = "/v1/identity/sign-ins"


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

    async def asked_to_begin(
        self, method: str = "code", hint: str = "", address: str = ""
    ) -> httpx2.Response:
        body = {
            "sign_in": self.opened.sign_in,
            "method": method,
            "genesis": msgspec.to_builtins(self.person.roster.genesis),
            "hint": hint,
        }
        headers = {"X-Forwarded-For": address} if address else None
        return await open_call(self.place.server, "POST", f"{PATH}/begin", body, headers)

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
        body = sign_in.SignInConfirm(self.opened.sign_in, code, self.body)
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
