"""The way of a device onto its connection: who it is, whether it may, and where its counts stand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol.errors import CloseCode, Code, Untrusted
from miss_protocol.identity.login import verify_login
from miss_protocol.ids import DeviceId
from miss_server.observe import short
from miss_server.relay.clock import Clock
from miss_server.storage.messages import (
    Greeting,
    Messages,
    NotDurable,
    SessionRefused,
    SessionStart,
)

CAPABILITIES = ("http-twins", "restore")
"""What this server can beyond the first version of v1; clients ignore what they do not know."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Turned:
    """A hello that is not let in: the code to tell, and the close code."""

    code: Code
    close: CloseCode
    reason: str = ""
    """Of a suspension, as it was written for the account's owner."""


class Login:
    """Checks hellos."""

    def __init__(
        self,
        messages: Messages,
        clock: Clock,
        *,
        domain: str,
        minimum_app: dict[str, str],
        may_log_in: Callable[[DeviceId], Awaitable[bool]],
    ) -> None:
        self._messages = messages
        self._clock = clock
        self._domain = domain
        self._minimum_app = minimum_app
        self._may_log_in = may_log_in

    async def check(
        self, hello: f.Hello, *, nonce: bytes, subprotocol: f.Subprotocol
    ) -> SessionStart | Turned:
        """Let a device in, or say why not. An unknown device and a bad signature look alike."""
        device = DeviceId(hello.device)
        minimum = self._minimum_app.get(hello.app.name)
        if minimum is not None and _version(hello.app.version) < _version(minimum):
            return Turned(Code.UPGRADE_REQUIRED, CloseCode.PROTOCOL)
        record = await self._messages.device(device)
        if record is None:
            return Turned(Code.AUTH_FAILED, CloseCode.AUTH)
        try:
            verify_login(
                record.signing_key,
                hello.signature,
                domain=self._domain,
                nonce=nonce,
                device=device,
                subprotocol=subprotocol,
            )
        except Untrusted:
            log.info("login refused", device=short(device))
            return Turned(Code.AUTH_FAILED, CloseCode.AUTH)
        if record.revoked:
            return Turned(Code.REVOKED, CloseCode.REVOKED)
        if record.suspended:
            reason = await self._messages.why_suspended(record.account)
            return Turned(Code.SUSPENDED, CloseCode.AUTH, reason)
        if not await self._may_log_in(device):
            return Turned(Code.RATE_LIMITED, CloseCode.RATE)
        greeting = Greeting(
            device,
            hello.acked,
            hello.digest,
            hello.sn,
            hello.epoch,
            hello.roster,
            f"{hello.app.name} {hello.app.version} {hello.app.platform}"[:200],
            settled=0 if hello.settled is UNSET else hello.settled,
        )
        try:
            start = await self._messages.begin_session(greeting, now_ms=self._clock.now_ms())
        except NotDurable:
            return Turned(Code.BUSY, CloseCode.TRY_LATER)
        if isinstance(start, SessionRefused):
            if start.revoked:
                return Turned(Code.REVOKED, CloseCode.REVOKED)
            log.warning("device is behind its own past", device=short(device))
            return Turned(Code.SN_REUSED, CloseCode.ROLLED_BACK)
        return start

    def welcome(self, start: SessionStart) -> f.Welcome:
        """The frame that lets the device in."""
        return f.Welcome(
            account=start.account,
            epoch=start.epoch,
            position=start.head,
            acked=start.acked,
            sn=start.sn,
            time=self._clock.now_ms(),
            prekeys=start.prekeys,
            roster=start.roster_version,
            charter=start.charter,
            restored=UNSET if start.restored_since is None else start.restored_since,
            digest=UNSET if start.digest is None else start.digest,
            dormant=start.dormant,
            capabilities=CAPABILITIES,
        )


def _version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version; anything else counts as the oldest."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits[:9]))
    return tuple(numbers)
