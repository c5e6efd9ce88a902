"""Questions to the provider over HTTP, each with a deadline, a size and no redirect."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from miss_protocol.errors import Code, Refused
from miss_server.provider.settings import ProviderSettings
from miss_server.tallies import ProviderTally

ANSWER_MAX = 256 * 1024
"""Bytes of an answer: a key set with certificates has 20 KB, a token with every claim 10 KB."""
AT_ONCE = 100
"""Questions that are under way; others wait for as long as an answer may take."""
RETRY_AFTER = 30.0
JWT = "application/jwt"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is a JSON object; or, where that was allowed, a JWT, with an empty `document`."""

    status: int
    document: dict[str, Any]
    date: str
    jwt: str = ""


class Asking:
    """HTTP to one provider. `close` it."""

    def __init__(self, chosen: ProviderSettings, tally: ProviderTally) -> None:
        self._chosen = chosen
        self._tally = tally
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def get(self, url: str, *, access: str = "") -> Answer:
        """Fetch a document; by an access token (RFC 6750), it may be a JWT. Raises as `post`, also for
        any status but 200."""
        headers = {}
        if access:
            headers = {"accept": f"application/json, {JWT}", "authorization": f"Bearer {access}"}
        answer = await self._ask("GET", url, None, headers)
        if answer.status != 200:
            raise self._away(f"status {answer.status}")
        return answer

    async def post(self, url: str, form: dict[str, str], headers: dict[str, str]) -> Answer:
        """Send a form.

        Raises:
            Refused: provider_unreachable: nothing came in time, too much, no JSON object, or a
                status of 500 and above. Whether the form had an effect is not known.
        """
        return await self._ask("POST", url, form, headers)

    async def _ask(
        self, method: str, url: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> Answer:
        try:
            async with asyncio.timeout(self._chosen.seconds):
                answer = await self._read(method, url, form, headers)
        except TimeoutError:
            raise self._away("no answer in time") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            raise self._away(type(error).__name__) from None
        self._tally.answered()
        return answer

    async def _read(
        self, method: str, url: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> Answer:
        client = self._client = self._client or self._connect()
        asked = client.stream(
            method, url, data=form, headers={"accept": "application/json", **headers}
        )
        async with asked as response:
            if response.status_code >= 500:
                raise self._away(f"status {response.status_code}")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_MAX:
                    raise self._away("an oversized answer")
            date = response.headers.get("date", "")
            if JWT in headers.get("accept", "") and _kind(response) == JWT:
                return Answer(response.status_code, {}, date, body.decode("ascii", "replace"))
            try:
                document = msgspec.json.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                document = None
            if not isinstance(document, dict):
                raise self._away("no JSON object")
            return Answer(response.status_code, document, date)

    def _connect(self) -> httpx2.AsyncClient:
        verify = (
            ssl.create_default_context(cafile=str(self._chosen.ca)) if self._chosen.ca else True
        )
        # Nothing of the environment's proxies or .netrc: the secret goes where it was set to go.
        return httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=AT_ONCE),
            timeout=self._chosen.seconds,
            verify=verify,
            follow_redirects=False,
            trust_env=False,
        )

    def _away(self, why: str) -> Refused:
        self._tally.failed(why)
        return Refused(Code.PROVIDER_UNREACHABLE, why, retry_after=RETRY_AFTER)


def _kind(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
