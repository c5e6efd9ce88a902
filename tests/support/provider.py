"""A real identity provider's process for tests, in the national one's shape, with odd ways on request.

    python -m tests.support.provider

It listens on a free port and prints its URL. Discovery is not at the standard name; codes are single
use and bound to client, redirect and PKCE; tokens are signed by keys that can be rotated; CIBA is by
poll. Whoever opens its sign-in page is the person that `control` named. `ProviderProcess` drives it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx2
import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.server import START_SECONDS, STOP_SECONDS, Process, started

REALM = "/auth/realms/fictif"
DISCOVERY = f"{REALM}/.well-known/wallet-openid-configuration"
CLIENT_ID, CLIENT_SECRET = "miss:fictive", "not a real secret / at all"
CIBA_GRANT = "urn:openid:params:grant-type:ciba"


def claims_of(person: str, given: str = "Agathe", family: str = "FICTIVE") -> dict[str, Any]:
    """A made-up practitioner as the national provider describes one."""
    return {
        "sub": f"f:00000000-0000-4000-8000-000000000001:{person}",
        "preferred_username": person,
        "SubjectNameID": person,
        "given_name": given,
        "family_name": family,
        "SubjectRole": ["10^1.2.250.1.213.1.1.5.5"],
        "Secteur_Activite": "SA07^1.2.250.1.71.4.2.4",
        "Palier_Authentification": "APPPRIP3^1.2.250.1.213.1.5.1.1.1",
        "otherIds": [{"identifiant": person, "origine": "RPPS", "qualite": 1}],
        "SubjectRefPro": {"exercices": [{"codeProfession": "10", "activities": []}]},
    }


class Odd:
    """What a test can change; see `control`."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = claims_of("810000000017")
        self.claims: dict[str, Any] = {}
        """Put over what a token would say; None takes a claim away."""
        self.sign = "right"
        """`right`, `none`, `hs256`, `other_key`, `unknown_kid`, `garbage`, `missing`."""
        self.delay = 0.0
        """Seconds before an answer of those in `slow`."""
        self.slow: list[str] = ["token", "ciba"]
        """Of which the next three are said: of `discovery`, `certs`, `token`, `ciba`, `userinfo`."""
        self.down: list[str] = []
        """Which of them answer 503."""
        self.oversized = False
        self.not_json = False
        self.refuse = ""
        """An error with which the sign-in page sends the browser back."""
        self.token_error = ""
        self.ciba = "approved"
        """`approved`, or an error of the poll."""
        self.issuer = ""
        self.no_ciba = False
        self.by_form = False
        self.userinfo = ""
        """`json` or `signed`: what names the person is there and not in the ID token; else it has no more
        than `sub`."""
        self.says: dict[str, Any] = {}
        """Put over what userinfo would say; None takes a claim away."""
        self.userinfo_sign = "right"
        """As `sign`."""
        self.access: str | None = None
        """The access token that is handed out; None: one that userinfo knows."""


@dataclass
class Provider:
    """The provider itself."""

    url: str = ""
    odd: Odd = field(default_factory=Odd)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    access: set[str] = field(default_factory=set)
    """Access tokens that were handed out."""

    def __post_init__(self) -> None:
        self.other = RSAKey.generate_key(2048)
        self.rotate()

    def rotate(self) -> None:
        self.name = secrets.token_hex(4)
        self.key = RSAKey.generate_key(2048)

    @property
    def issuer(self) -> str:
        return self.url + REALM

    def discovery(self, request: Request) -> Response:
        base = f"{self.issuer}/protocol/openid-connect"
        document = {
            "issuer": self.odd.issuer or self.issuer,
            "authorization_endpoint": f"{self.url}/wallet/auth",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/certs",
            "backchannel_authentication_endpoint": f"{base}/ext/ciba/auth",
            "userinfo_endpoint": f"{base}/userinfo",
        }
        if self.odd.no_ciba:
            del document["backchannel_authentication_endpoint"]
        methods = ["client_secret_post"] if self.odd.by_form else ["client_secret_basic"]
        return JSONResponse(document | {"token_endpoint_auth_methods_supported": methods})

    def certs(self, request: Request) -> Response:
        key = {**self.key.as_dict(private=False), "kid": self.name, "use": "sig", "alg": "RS256"}
        unknown = {"kty": "PQ", "kid": "of tomorrow"}
        return JSONResponse({"keys": [unknown, key]})

    def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        back = {"state": asked["state"]}
        if self.odd.refuse:
            back["error"] = self.odd.refuse
        else:
            code = secrets.token_urlsafe(24)
            self.codes[code] = asked
            back |= {"code": code, "iss": self.issuer}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        if not self._knows(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if self.odd.token_error:
            return JSONResponse({"error": self.odd.token_error}, 400)
        if form["grant_type"] == CIBA_GRANT:
            if form["auth_req_id"] not in self.questions:
                return JSONResponse({"error": "invalid_grant"}, 400)
            if self.odd.ciba != "approved":
                return JSONResponse({"error": self.odd.ciba}, 400)
            del self.questions[form["auth_req_id"]]
            return JSONResponse(self._answer({}))
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != challenge
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(
            self._answer({"nonce": asked["nonce"], "acr": asked.get("acr_values", "")})
        )

    async def ciba(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        if not self._knows(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form["login_hint"] != self.odd.person["SubjectNameID"] and not self.odd.claims:
            return JSONResponse({"error": "unknown_user_id"}, 400)
        name = secrets.token_urlsafe(24)
        self.questions[name] = form["binding_message"]
        return JSONResponse({"auth_req_id": name, "expires_in": 120, "interval": 1})

    def _knows(self, request: Request, form: dict[str, str]) -> bool:
        self.forms.append(form)
        if self.odd.by_form:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return kind == "Basic" and (unquote(name), unquote(secret)) == (CLIENT_ID, CLIENT_SECRET)

    def userinfo(self, request: Request) -> Response:
        kind, _, access = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or access not in self.access:
            return JSONResponse({"error": "invalid_token"}, 401)
        known = self.odd.person if self.odd.userinfo else {"sub": self.odd.person["sub"]}
        said = {**known, **self.odd.says}
        if self.odd.userinfo == "signed":
            said = {"iss": self.issuer, "aud": CLIENT_ID} | said
        said = {name: value for name, value in said.items() if value is not None}
        if self.odd.userinfo == "signed":
            token = self._signed(said, self.odd.userinfo_sign)
            return Response(token, media_type="application/jwt")
        return JSONResponse(said)

    def _answer(self, more: dict[str, Any]) -> dict[str, Any]:
        access = secrets.token_urlsafe(16)
        self.access.add(access)
        if self.odd.access is not None:
            access = self.odd.access
        answer: dict[str, Any] = {"access_token": access, "token_type": "Bearer"}
        if self.odd.sign == "missing":
            return answer
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "azp": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "acr": "eidas1",
            **self.odd.person,
            **more,
        }
        if self.odd.userinfo:
            said |= dict.fromkeys(("SubjectNameID", "otherIds"))
        for name, value in self.odd.claims.items():
            moved = name in ("iat", "exp") and value is not None
            said[name] = now + value if moved else value
        said = {name: value for name, value in said.items() if value is not None}
        return answer | {"id_token": self._signed(said, self.odd.sign)}

    def _signed(self, claims: dict[str, Any], way: str) -> str:
        head: dict[str, Any] = {"alg": "RS256", "kid": self.name}
        match way:
            case "none":
                return f"{_part({'alg': 'none'})}.{_part(claims)}."
            case "hs256":
                body = f"{_part({'alg': 'HS256', 'kid': self.name})}.{_part(claims)}"
                secret = self.key.as_pem(private=False)
                mac = hmac.new(secret, body.encode(), "sha256").digest()
                return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
            case "garbage":
                return "not.a.token"
            case "other_key":
                return jwt.encode(head, claims, self.other)
            case "unknown_kid":
                return jwt.encode({**head, "kid": "nobody's"}, claims, self.other)
        return jwt.encode(head, claims, self.key)

    async def control(self, request: Request) -> Response:
        """Change the ways of this provider: fields of `Odd`, or `rotate`; answers what was asked of it."""
        wanted = json.loads(await request.body())
        if wanted.pop("rotate", False):
            self.rotate()
        if wanted.pop("reset", False):
            self.odd = Odd()
        for name, value in wanted.items():
            assert hasattr(self.odd, name), name
            setattr(self.odd, name, value)
        return JSONResponse({"forms": self.forms, "questions": self.questions})

    def app(self) -> Starlette:
        base = f"{REALM}/protocol/openid-connect"
        return Starlette(
            routes=[
                Route(DISCOVERY, self._oddly("discovery", self.discovery)),
                Route(f"{base}/certs", self._oddly("certs", self.certs)),
                Route("/wallet/auth", self._oddly("auth", self.authorize)),
                Route(f"{base}/token", self._oddly("token", self.token), methods=["POST"]),
                Route(f"{base}/ext/ciba/auth", self._oddly("ciba", self.ciba), methods=["POST"]),
                Route(f"{base}/userinfo", self._oddly("userinfo", self.userinfo)),
                Route("/control", self.control, methods=["POST"]),
            ]
        )

    def _oddly(self, name: str, answer: Callable[[Request], Any]) -> Any:
        async def answered(request: Request) -> Response:
            if name in self.odd.down:
                return Response("down for repairs", 503)
            if name in self.odd.slow:
                await asyncio.sleep(self.odd.delay)
                if self.odd.oversized:
                    return Response(b"{" + b" " * 2_000_000 + b"}", media_type="application/json")
                if self.odd.not_json:
                    return Response("<html>", media_type="text/html")
            result: Response | Coroutine[Any, Any, Response] = answer(request)
            return result if isinstance(result, Response) else await result

        return answered


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class ProviderProcess:
    """The provider as a child process; `start` before use, `stop` after."""

    url: str = ""
    process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.process, said = await started("tests.support.provider")
        with said:
            async with asyncio.timeout(START_SECONDS):
                self.url = (await asyncio.to_thread(said.readline)).strip()
        assert self.url.startswith("http://")

    async def stop(self) -> None:
        """End it, whoever waits for an answer of it."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(STOP_SECONDS):
            await self.process.wait()

    @property
    def issuer(self) -> str:
        """Its name in tokens."""
        return self.url + REALM

    @property
    def discovery(self) -> str:
        """Its discovery document."""
        return self.url + DISCOVERY

    def settings(self, **more: str) -> dict[str, str]:
        """What a server of ours is told of it; the redirect goes to a port that is put in later."""
        return {
            "MISS_PROVIDER_DISCOVERY": self.discovery,
            "MISS_PROVIDER_CLIENT_ID": CLIENT_ID,
            "MISS_PROVIDER_CLIENT_SECRET": CLIENT_SECRET,
            "MISS_PROVIDER_REDIRECT": "http://127.0.0.1:1/v1/identity/callback",
            "MISS_PROVIDER_CIBA": "true",
            "MISS_PROVIDER_SECONDS": "2",
            **more,
        }

    async def control(self, **wanted: Any) -> dict[str, Any]:
        """Change its ways; see `Odd`."""
        async with httpx2.AsyncClient() as client:
            answer = await client.post(f"{self.url}/control", json=wanted)
            answer.raise_for_status()
            told: dict[str, Any] = answer.json()
            return told

    async def sign_in(self, url: str, server: str, **headers: str) -> httpx2.Response:
        """Do as a person's browser does: open the sign-in page, come back to our server's callback.

        Args:
            server: our server's URL: the registered redirect has a port of no meaning.
        """
        async with httpx2.AsyncClient() as client:
            there = await client.get(url)
            assert there.status_code == 302, there.text
            back = urlsplit(there.headers["location"])
            return await client.get(f"{server}{back.path}?{back.query}", headers=headers)


@asynccontextmanager
async def running_provider() -> AsyncIterator[ProviderProcess]:
    """A provider for as long as the block takes."""
    one = ProviderProcess()
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


def main() -> None:
    """Listen, say where, and serve."""
    provider = Provider()
    server = uvicorn.Server(uvicorn.Config(provider.app(), log_level="warning"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        provider.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        bound.listen()
        sys.stdout.write(provider.url + "\n")
        sys.stdout.flush()
        server.run(sockets=[bound])


if __name__ == "__main__":
    main()
