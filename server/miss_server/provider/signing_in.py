"""Sign-ins at the provider: the code flow with PKCE (RFC 6749 §4.1, RFC 7636), and CIBA by polling.

The provider's documents are fetched when they are first needed and kept; its keys are fetched anew
when a token names one that is not known.
"""

import asyncio
import base64
import hashlib
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from miss_protocol.errors import Code, Refused, Unproven
from miss_protocol.identity import proof
from miss_protocol.identity.proof import Claimed
from miss_protocol.vouching import ProviderInfo
from miss_server.provider.answers import INTERVAL_DEFAULT, Asked, Granted, NotYet, Proven
from miss_server.provider.asking import RETRY_AFTER, Answer, Asking
from miss_server.provider.settings import ProviderSettings, is_safe
from miss_server.provider.tokens import Keys
from miss_server.tallies import ProviderTally

KEPT_SECONDS = 3600.0
"""For so long the provider's documents are believed without looking again."""
CIBA_GRANT = "urn:openid:params:grant-type:ciba"
ACCESS_MAX = 16 * 1024
_VISIBLE = re.compile(r"[!-~]+")
"""Of an access token (RFC 6749, appendix A.12): it goes into a header."""
_OPTIONAL = ("backchannel_authentication_endpoint", "userinfo_endpoint")
_NOT_YET = {"authorization_pending": False, "slow_down": True}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What of the discovery document is needed; `ciba` and `userinfo` are empty if it has none."""

    authorization: str
    token: str
    jwks: str
    ciba: str
    userinfo: str
    by_form: bool
    """The client's secret goes into the form, not into a header."""


class Provider:
    """One provider, for one process. `close` it.

    Every method raises `Refused`: provider_unreachable, with the reason for the log.
    """

    def __init__(self, chosen: ProviderSettings, tally: ProviderTally | None = None) -> None:
        self.settings = chosen
        self.tally = tally or ProviderTally()
        self._asking = Asking(chosen, self.tally)
        self._endpoints: Endpoints | None = None
        self._keys: Keys | None = None
        self._since = self._keys_since = 0.0
        self._finding: asyncio.Task[None] | None = None
        self.date = ""
        """The `Date` of the last discovery document, by the provider's clock."""

    def info(self, *, renew_days: int) -> ProviderInfo:
        """What apps are told of it."""
        methods = ("code", "ciba") if self.settings.ciba else ("code",)
        return ProviderInfo(self.settings.issuer, self.settings.client_id, methods, renew_days)

    async def close(self) -> None:
        """Close the connections."""
        if self._finding is not None:
            self._finding.cancel()
        await self._asking.close()

    async def endpoints(self) -> Endpoints:
        """The provider's places, from its discovery document."""
        while self._endpoints is None or time.monotonic() - self._since > KEPT_SECONDS:
            # One question for all who wait: strangers must not have the provider asked once for each.
            if self._finding is None:
                self._finding = asyncio.create_task(self._find())
                self._finding.add_done_callback(self._found)
            await asyncio.shield(self._finding)
        return self._endpoints

    async def _find(self) -> None:
        answer = await self._asking.get(self.settings.discovery)
        self._endpoints = self._read(answer.document)
        self.date, self._since = answer.date, time.monotonic()

    def _found(self, finding: asyncio.Task[None]) -> None:
        self._finding = None
        if not finding.cancelled():
            finding.exception()  # told by whoever waited

    def _read(self, document: dict[str, Any]) -> Endpoints:
        if document.get("issuer") != self.settings.issuer:
            # A document of somebody else: its keys would sign for anybody.
            raise self._wrong("the discovery document is of another issuer")
        urls = {
            name: document.get(name, "")
            for name in (
                "authorization_endpoint",
                "token_endpoint",
                "jwks_uri",
                *_OPTIONAL,
            )
        }
        for name, url in urls.items():
            optional = name in _OPTIONAL and not url
            if not optional and not (isinstance(url, str) and is_safe(url)):
                raise self._wrong(f"the discovery document has no usable {name}")
        methods = document.get("token_endpoint_auth_methods_supported")
        by_form = isinstance(methods, list) and "client_secret_basic" not in methods
        return Endpoints(
            authorization=urls["authorization_endpoint"],
            token=urls["token_endpoint"],
            jwks=urls["jwks_uri"],
            ciba=urls["backchannel_authentication_endpoint"],
            userinfo=urls["userinfo_endpoint"],
            by_form=by_form,
        )

    async def keys(self, *, anew: bool = False) -> Keys:
        """The provider's public keys: asked for again after a while, since one may have been withdrawn."""
        old = time.monotonic() - self._keys_since > KEPT_SECONDS
        if self._keys is None or anew or old:
            answer = await self._asking.get((await self.endpoints()).jwks)
            try:
                self._keys = Keys(answer.document)
            except ValueError as error:
                raise self._wrong(str(error)) from None
            self._keys_since = time.monotonic()
        return self._keys

    # --- the code flow ------------------------------------------------------------------------------

    async def url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where the person signs in, in a browser."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect,
            "scope": self.settings.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "prompt": "login",  # a re-proof is by the person, not by a browser left open
        }
        if self.settings.levels:
            query["acr_values"] = self.settings.levels[0]
        place = (await self.endpoints()).authorization
        return f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(query, quote_via=quote)}"

    async def exchange(self, code: str, *, verifier: str) -> Granted:
        """The tokens for a code, which the provider takes once.

        Raises:
            Refused: sign_in_refused, the provider does not know this code (any more).
            Unproven: `malformed`, there is no token in its answer.
        """
        answer = await self._ask_token(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.settings.redirect,
                "code_verifier": verifier,
            }
        )
        if answer.status != 200:
            raise self._refusal(answer)
        return _granted(answer)

    # --- CIBA ---------------------------------------------------------------------------------------

    async def ask_person(self, hint: str, message: str) -> Asked:
        """Have the provider ask a person on their own device.

        Args:
            hint: who, as the provider knows them.
            message: shown there and in our app, for the person to compare.

        Raises:
            Refused: sign_in_refused, the provider knows nobody of this name.
        """
        places = await self.endpoints()
        if not places.ciba:
            raise self._wrong("the provider offers no CIBA")
        form = {"scope": self.settings.scope, "login_hint": hint, "binding_message": message}
        if self.settings.levels:
            form["acr_values"] = self.settings.levels[0]
        answer = await self._ask(places.ciba, form, by_form=places.by_form)
        request = answer.document.get("auth_req_id")
        if answer.status != 200 or not isinstance(request, str) or not request:
            raise self._refusal(answer)
        return Asked(
            request,
            _whole(answer.document.get("interval"), INTERVAL_DEFAULT, 60),
            _whole(answer.document.get("expires_in"), 120, 600),
        )

    async def poll(self, request: str) -> Granted | NotYet:
        """The tokens of a sign-in that the person was asked for, once they have answered.

        Raises:
            Refused: sign_in_refused, they declined; sign_in_over, they did not answer in time.
            Unproven: `malformed`.
        """
        answer = await self._ask_token({"grant_type": CIBA_GRANT, "auth_req_id": request})
        if answer.status == 200:
            return _granted(answer)
        error = answer.document.get("error")
        if error in _NOT_YET:
            return NotYet(_NOT_YET[error])
        if error == "expired_token":
            raise Refused(Code.SIGN_IN_OVER, "expired_token")
        raise self._refusal(answer)

    # --- tokens -------------------------------------------------------------------------------------

    async def proven(
        self, granted: Granted, *, genesis: bytes | None, since_ms: int, now_ms: int
    ) -> Proven:
        """What new tokens prove: the ID token by itself, or with what the provider says of its `sub` if it
        names no person.

        Raises:
            Unproven: with its reason.
        """
        claims = await self._claims(granted.token)

        def check(userinfo: dict[str, Any] | None) -> Claimed:
            return proof.check(
                claims,
                issuer=self.settings.issuer,
                client=self.settings.client_id,
                genesis=genesis,
                now_ms=now_ms,
                since_ms=since_ms,
                levels=self.settings.levels,
                userinfo=userinfo,
            )

        try:
            return Proven(check(None), granted.token, "")
        except Unproven as unproven:
            place = (await self.endpoints()).userinfo
            if unproven.reason != "person" or not place or not granted.access:
                raise
        answer = await self._asking.get(place, access=granted.access)
        if not answer.jwt:
            return Proven(check(answer.document), "", "")
        return Proven(check(await self._claims(answer.jwt)), granted.token, answer.jwt)

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a token that came from the provider itself, so that nobody can make us fetch its
        keys at will: they are fetched anew once if none of those known fits."""
        try:
            return (await self.keys()).claims(token)
        except Unproven as unproven:
            if unproven.reason not in ("key", "signature"):
                raise
        return (await self.keys(anew=True)).claims(token)

    async def _ask_token(self, form: dict[str, str]) -> Answer:
        places = await self.endpoints()
        return await self._ask(places.token, form, by_form=places.by_form)

    async def _ask(self, url: str, form: dict[str, str], *, by_form: bool) -> Answer:
        name, secret = self.settings.client_id, self.settings.secret
        if by_form:
            return await self._asking.post(
                url, {**form, "client_id": name, "client_secret": secret}, {}
            )
        pair = f"{quote(name, safe='')}:{quote(secret, safe='')}"  # RFC 6749 §2.3.1
        basic = base64.b64encode(pair.encode()).decode()
        return await self._asking.post(url, form, {"authorization": f"Basic {basic}"})

    def _refusal(self, answer: Answer) -> Refused:
        error = answer.document.get("error")
        shown = error if isinstance(error, str) and error.isascii() and len(error) < 64 else ""
        if shown in ("invalid_client", "unauthorized_client"):
            return self._wrong(shown)  # our own secret or registration: not the person's fault
        return Refused(Code.SIGN_IN_REFUSED, shown or f"status {answer.status}")

    def _wrong(self, why: str) -> Refused:
        self.tally.failed(why)
        return Refused(Code.PROVIDER_UNREACHABLE, why, retry_after=RETRY_AFTER)


def _granted(answer: Answer) -> Granted:
    token, access = answer.document.get("id_token"), answer.document.get("access_token")
    if not isinstance(token, str):
        raise Unproven("malformed")
    usable = isinstance(access, str) and len(access) <= ACCESS_MAX and _VISIBLE.fullmatch(access)
    return Granted(token, str(access) if usable else "")


def _whole(value: object, default: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return default
    return min(value, most)
