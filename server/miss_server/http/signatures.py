"""Who signed this request: RFC 9421 with the device key, verified by `http-message-signatures`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey
from starlette.requests import Request

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, Refused, Untrusted
from miss_protocol.http_signature import ALGORITHM, COVERED, TAG, device_of, key_id
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import roster
from miss_protocol.identity.certificate import DeviceCertificate
from miss_server.edge.admission import Visitor
from miss_server.http.bodies import read_bytes
from miss_server.http.enrolment import peer_address
from miss_server.http.services import Services, services
from miss_server.storage.messages import DeviceRecord

_KEYID = re.compile(r';keyid="([0-9a-f]{32})"')
NONCE_MAX = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """A request whose signature holds: who called, and the body that the signature covers."""

    device: DeviceRecord
    body: bytes
    known: bool = True
    """Whether the server knows this device. Of another only the key is proven, to which anybody may have
    given an account's name."""


@dataclass(frozen=True, slots=True)
class _Message:
    """The request as it came over the wire: the path still percent-encoded, as it was signed."""

    method: str
    url: str
    headers: Any


def _as_sent(request: Request) -> _Message:
    scope = request.scope
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    host = request.headers.get("host", "")
    return _Message(scope["method"], f"{scope['scheme']}://{host}{target}", request.headers)


class _Ed25519(HTTPSignatureAlgorithm):
    """Ed25519 by PyNaCl, as everywhere in the server."""

    algorithm_id = ALGORITHM

    def __init__(self, public_key: bytes | None = None, private_key: bytes | None = None) -> None:
        self._public = public_key or b""

    def sign(self, message: bytes) -> bytes:
        raise InvalidSignature("the server signs nothing")

    def verify(self, signature: bytes, message: bytes) -> None:
        try:
            VerifyKey(self._public).verify(message, signature)
        except (CryptoError, ValueError, TypeError) as error:
            raise InvalidSignature("the signature does not hold") from error


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, keyid: str, key: bytes) -> None:
        self._keyid, self._key = keyid, key

    def resolve_public_key(self, key_id: str) -> Any:
        if key_id != self._keyid:
            raise InvalidSignature("another key id")
        return self._key

    def resolve_private_key(self, key_id: str) -> Any:
        raise InvalidSignature("the server signs nothing")


class _Verifier(HTTPMessageVerifier):
    """Checks times by this machine's clock and the database's, which may be the only right one, and tells
    a wrong clock from a wrong signature."""

    max_clock_skew = timedelta(seconds=limits.CLOCK_SKEW_MAX)

    def __init__(self, now_ms: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self._now = [each // 1000 for each in now_ms]
        self.skewed = False

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        created = sig_input.params.get("created")
        if type(created) is not int:
            raise InvalidSignature("no time of creation")
        if all(abs(created - now) > limits.CLOCK_SKEW_MAX for now in self._now):
            # Told only once the signature holds: else a stranger could test ids of devices by it.
            self.skewed = True
        expires = sig_input.params.get("expires")
        if expires is not None and expires < min(self._now):
            raise InvalidSignature("past its own end")


async def signed(
    request: Request,
    *,
    suspended: bool = False,
    introduced: Callable[[bytes], bytes] | None = None,
) -> Caller:
    """Read the body and find out which device signed the request.

    Args:
        suspended: whether one of a suspended account may make this call, too: by which it can learn
            why, or mend it.
        introduced: takes the caller's certificate from the body, if a device that is not known may make
            this call; empty if there is none.

    Raises:
        Refused: `auth_failed` (whatever the cause), `clock_skew`, `replayed`, `revoked`,
            `suspended`, `rate_limited`.
    """
    it = services(request)
    body = await read_bytes(request)
    match = _KEYID.search(request.headers.get("signature-input", ""))
    if match is None:
        raise Refused(Code.AUTH_FAILED, "unsigned")
    keyid = match.group(1)
    record = await it.messages.device(device_of(keyid))
    own_ms, tally = it.clock.now_ms(), it.messages.tally
    now_ms = tally.earlier_ms(own_ms), tally.later_ms(own_ms)
    if record is None:
        stranger = await _introduced(request, keyid, introduced(body) if introduced else b"")
        _verify(request, body, keyid, stranger.signing_key, now_ms)
        # Its nonce is not kept: strangers would fill the table.
        return Caller(stranger, body, known=False)
    nonce = _verify(request, body, keyid, record.signing_key, now_ms)
    if record.revoked:
        raise Refused(Code.REVOKED)
    if record.suspended and not suspended:
        reason = await it.messages.why_suspended(record.account)
        raise Refused(Code.SUSPENDED, reason=reason)
    await it.throttle.call(record.id)
    # Kept until even the latest time that this signature could be accepted at has passed.
    expires = max(now_ms) + 2 * limits.CLOCK_SKEW_MAX * 1000
    if not await it.accounts.use_nonce(record.id, nonce, expires_ms=expires):
        raise Refused(Code.REPLAYED)
    visitor: Visitor | None = request.state.visitor
    if visitor is not None:
        it.admission.logged_in(visitor)
    return Caller(record, body)


def _verify(request: Request, body: bytes, keyid: str, key: bytes, now_ms: Sequence[int]) -> str:
    """Check that the device `keyid` signed this request with `key`, now by one of the clocks; returns
    the nonce.

    Raises:
        Refused: `auth_failed`, `clock_skew`.
    """
    verifier = _Verifier(
        now_ms,
        signature_algorithm=_Ed25519,
        key_resolver=_OneKey(keyid, key),
    )
    try:
        results = verifier.verify(
            _as_sent(request), max_age=None, expect_tag=TAG, require_components=COVERED, body=body
        )
    except HTTPMessageSignaturesException:
        raise Refused(Code.AUTH_FAILED, "signature") from None
    if verifier.skewed:
        raise Refused(Code.CLOCK_SKEW)
    nonce = results[0].nonce
    if len(results) != 1 or not nonce or len(nonce) > NONCE_MAX:
        raise Refused(Code.AUTH_FAILED, "nonce")
    return nonce


async def _introduced(request: Request, keyid: str, blob: bytes) -> DeviceRecord:
    """A device that is not known, as its own certificate has it (spec 03-session §6).

    Raises:
        Refused: `auth_failed`, also of an account that is not here or suspended: nobody is told which;
            `rate_limited`.
    """
    it = services(request)
    if not blob:
        raise Refused(Code.AUTH_FAILED, "unknown device")
    # Before any signature is checked: strangers must not buy time on our processor.
    await it.throttle.introduction(peer_address(request))
    try:
        certificate = certificates.decode(blob)
    except (Malformed, Untrusted):
        raise Refused(Code.AUTH_FAILED, "certificate") from None
    if key_id(certificate.device) != keyid:
        raise Refused(Code.AUTH_FAILED, "another device's certificate")
    account = await it.accounts.find(certificate.account)
    if account is None or not account.enrolled or account.suspended:
        raise Refused(Code.AUTH_FAILED, "unknown account")
    return DeviceRecord(
        certificate.device,
        certificate.account,
        certificate.signing_key,
        revoked=False,
        suspended=False,
        roster_version=account.roster_version,
    )


async def certificate_of(it: Services, device: DeviceRecord) -> DeviceCertificate:
    """A caller's certificate, as the newest roster of its account has it.

    Raises:
        Refused: `revoked`, that roster lists it no more.
    """
    chain = await it.accounts.rosters(
        device.account, after=device.roster_version - 1, now_ms=it.clock.now_ms()
    )
    entry = roster.decode(chain.rosters[-1]).find(device.id) if chain else None
    if entry is None:
        raise Refused(Code.REVOKED)
    return entry.certificate
