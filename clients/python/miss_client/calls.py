"""HTTP calls, signed with the device key (RFC 9421). Spec: 02-wire §5.

No bearer token exists: every call but the open ones proves the key anew, with a time and a nonce,
so a captured one is of no use.
"""

import base64
import functools
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
from http_message_signatures import HTTPMessageSigner, algorithms
from http_message_signatures.httpx2 import adapt_message

from miss_client.clock import random
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble, Unreachable
from miss_client.vault import Vault
from miss_protocol import http_signature as parameters
from miss_protocol.api import Problem
from miss_protocol.errors import code_of
from miss_protocol.ids import DeviceId

T = TypeVar("T")


class Nothing(msgspec.Struct):
    """An answer of which only its coming counts."""


TIMEOUT = httpx2.Timeout(15.0, connect=10.0)
"""Above the server's own limits, below a user's patience."""


def check_url(server: str) -> None:
    """Refuse a server elsewhere without TLS: the network could take the enrolment code, and with it
    the account. MISS_ALLOW_HTTP=1 allows it, for exercises.

    Raises:
        ClientError: insecure_server.
    """
    parts = urlsplit(server)
    host = parts.hostname or ""
    if parts.scheme != "http" or os.environ.get("MISS_ALLOW_HTTP") == "1":
        return
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    if not here:
        raise ClientError(Trouble.INSECURE_SERVER, host)


@functools.cache
def _authorities() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _trust(server: str) -> ssl.SSLContext:
    """Whose certificates to believe. Reading the machine's takes a tenth of a second: it is done
    once, and not at all for a server that is spoken to without TLS."""
    if urlsplit(server).scheme == "https":
        return _authorities()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # believes nobody


class Calls:
    """A server's HTTP interface.

    Args:
        server: its URL, `https://…` (or `http://…` for one on this machine).
        vault: whose device signs; without it only open calls can be made.

    Raises:
        ClientError: insecure_server, a server elsewhere without TLS.
    """

    def __init__(self, server: str, vault: Vault | None = None) -> None:
        check_url(server)
        self._http = httpx2.AsyncClient(base_url=server, timeout=TIMEOUT, verify=_trust(server))
        self._vault = vault
        self._signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(
        self, path: str, kind: type[T], more: Sequence[tuple[str, str]] = (), **params: str
    ) -> T:
        """Fetch `path`; `more` are parameters that may come more than once. Raises as `post`."""
        return await self._call(
            "GET", path, kind, b"", params=[*params.items(), *more], signed=True
        )

    async def get_open(self, path: str, kind: type[T]) -> T:
        """Fetch `path` without a signature. Raises as `post`."""
        return await self._call("GET", path, kind, b"", signed=False)

    async def post(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        """Send `body`, signed; returns the answer as a `kind`.

        Raises:
            Unreachable: no answer came; whether the call was carried out is not known.
            RefusedByServer: with the server's code.
            ServerError: an answer that is not in the protocol.
        """
        return await self._call("POST", path, kind, msgspec.json.encode(body), signed=True)

    async def put(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        """Replace what is at `path`. Raises as `post`."""
        return await self._call("PUT", path, kind, msgspec.json.encode(body), signed=True)

    async def post_open(self, path: str, body: msgspec.Struct | bytes, kind: type[T]) -> T:
        """Send `body` (or its very bytes, for a repetition) without a signature."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self._call("POST", path, kind, data, signed=False)

    async def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: bytes,
        *,
        signed: bool,
        params: Sequence[tuple[str, str]] = (),
    ) -> T:
        headers = {"accept": "application/json, application/problem+json"}
        if method in ("POST", "PUT"):
            headers["content-type"] = "application/json"
        request = self._http.build_request(
            method, path, content=body or None, params=list(params) or None, headers=headers
        )
        if signed:
            self._sign(request, body)
        try:
            response = await self._http.send(request)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unreachable(type(error).__name__) from None
        if not response.is_success:
            raise _refusal(response)
        try:
            return msgspec.json.decode(response.content or b"{}", type=kind)
        except msgspec.MsgspecError as error:
            raise ServerError(f"{path}: {type(error).__name__}") from None

    def _sign(self, request: httpx2.Request, body: bytes) -> None:
        if self._vault is None:
            raise ServerError("a signed call needs a device")
        message = adapt_message(request)
        prepared = self._signer.prepare(
            message,
            key_id=parameters.key_id(DeviceId(self._vault.device)),
            created=datetime.fromtimestamp(self._vault.clock() // 1000, UTC),
            nonce=base64.urlsafe_b64encode(random(18)).decode(),
            label=parameters.LABEL,
            tag=parameters.TAG,
            covered_component_ids=parameters.COVERED,
            body=body,
        )
        # The key stays with PyNaCl; the library only says what is to be signed.
        signature = self._vault.signing_key.sign(prepared.signature_base).signature
        self._signer.apply(message, prepared, signature)


def _refusal(response: httpx2.Response) -> Exception:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        if response.status_code in (502, 503, 504):
            return Unreachable(f"HTTP {response.status_code} of a proxy")
        return ServerError(f"HTTP {response.status_code}")
    code = code_of(problem.code)
    if code is None:
        return ServerError(problem.code[:64], texts=problem.texts)
    after = None if problem.retry_after is msgspec.UNSET else problem.retry_after
    return RefusedByServer(
        code, retry_after=after, accounts=problem.accounts, reason=problem.reason
    )
