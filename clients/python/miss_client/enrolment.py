"""How a device comes into being: as an account's first one, or by joining an account.

Both save everything before the call leaves and repeat the very same call after a lost reply, so that
neither costs a code nor leaves half a device behind.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from nacl.signing import SigningKey

from miss_client.calls import Calls
from miss_client.errors import ClientError, RefusedByServer, ServerError, Trouble
from miss_client.records import Contact, DeviceInfo, Vouched
from miss_client.vault import Vault
from miss_protocol import limits
from miss_protocol.account import RecoveryPreview, RecoveryState
from miss_protocol.api import (
    Charter,
    CharterSigned,
    CodeGiven,
    Enrol,
    Enrolled,
    EnrolmentPreview,
    LinkRequest,
    LinkStatus,
    PrekeyCount,
    PrekeysUploaded,
)
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.encoding import u64
from miss_protocol.errors import Code, Malformed, Untrusted
from miss_protocol.frames import App
from miss_protocol.identity import charter as charters
from miss_protocol.identity import link
from miss_protocol.identity.roster import Roster, RosterEntry, decode, found, verify_chain
from miss_protocol.ids import parse_address
from miss_protocol.sign_in import SignedIn, SignInOpened

POLL_EVERY = 2.0
"""Seconds between questions whether a new device was approved: a person is at the other end."""


class Accept(Protocol):
    """Shows whose account it is, and the charter; returns whether the user accepts both."""

    def __call__(self, preview: EnrolmentPreview) -> bool:
        """Ask the user."""
        ...


def check_name(name: str) -> str:
    """A device's name that every roster reader accepts.

    Raises:
        Malformed: empty, too long, or with control characters.
    """
    if not name.strip() or len(name.encode()) > limits.DEVICE_NAME_MAX or not name.isprintable():
        raise Malformed("a device's name")
    return name


def begin_enrolment(
    vault: Vault,
    server: str,
    code: str,
    preview: EnrolmentPreview | RecoveryPreview,
    *,
    device_name: str,
    app: App,
    sign_in: SignInOpened | None = None,
    recovering: bool = False,
) -> None:
    """Make keys, genesis, prekeys and the signed charter, and save them with the call to make.

    The account key signs the genesis and is gone when this returns: nobody, not even this device,
    can found the account a second time.

    Args:
        recovering: the account has a genesis, which this one is to replace (rule A3).
    """
    now = vault.clock()
    account = parse_address(preview.account)
    endpoint = Endpoint.create(account, now_ms=now, random=vault.random)
    account_key = SigningKey(vault.random(32))
    genesis = found(
        account_key,
        account,
        RosterEntry(endpoint.certificate, check_name(device_name), approve=True),
        now_ms=now,
    )
    del account_key
    prekeys = endpoint.new_prekeys(limits.PREKEYS_UPLOADED, now_ms=now)
    prekeys.append(endpoint.new_last_resort(now_ms=now))
    call = Enrol(
        code=code,
        roster=genesis.encode(),
        prekeys=tuple(one.encode() for one in prekeys),
        charter=sign_charter(endpoint, preview.charter, now),
        app=app,
    )
    vault.found(
        endpoint,
        DeviceInfo(
            server=server,
            account=account,
            person_name=preview.name,
            device_name=device_name,
            stage="recovering" if recovering else "enrolling",
            call=msgspec.json.encode(call),
            charter=preview.charter.version,
            sign_in=sign_in,
        ),
    )


async def finish_enrolment(vault: Vault, calls: Calls) -> None:
    """Make the saved call, as often as it takes.

    Raises:
        Unreachable: call this again; the very same call is made.
        RefusedByServer: the code is unknown, used or expired, or the account has devices.
    """
    info = vault.info
    answer = await calls.post_open("/v1/enrolment", info.call, Enrolled)
    if (answer.account, answer.device) != (info.account, vault.device):
        raise ServerError("another device was enrolled")
    genesis = decode(msgspec.json.decode(info.call, type=Enrol).roster)
    _ready(vault, genesis, [genesis.encode()])


def finish_sign_in(vault: Vault, done: SignedIn, vouched: Vouched | None) -> None:
    """Save that the account is the person's, by a provider's word that was verified, or the server's."""
    info = vault.info
    genesis = decode(msgspec.json.decode(info.call, type=Enrol).roster)
    info.person_name, info.sign_in = done.name, None
    if vouched is not None:
        info.provider_clients[vouched.issuer] = vouched.client
    with vault.store.transaction():
        vault.put_info(info)
    _ready(vault, genesis, [genesis.encode()], person=done.person, vouched=vouched)


async def ask_recovery(vault: Vault, calls: Calls) -> RecoveryState:
    """Make the saved call, which begins the recovery or tells how it stands; once it is `done`, this is
    an account's device like any other.

    Raises:
        Unreachable: call this again; the very same call is made.
        RefusedByServer: the code is unknown, used or expired; recovering, another one waits.
    """
    info = vault.info
    answer = await calls.post_open("/v1/recoveries", info.call, RecoveryState)
    if (answer.account, answer.device) != (info.account, vault.device):
        raise ServerError("another recovery")
    if answer.state == "done":
        genesis = decode(msgspec.json.decode(info.call, type=Enrol).roster)
        _ready(vault, genesis, [genesis.encode()])
    return answer


def begin_joining(
    vault: Vault,
    server: str,
    code: str,
    preview: EnrolmentPreview,
    *,
    genesis_code: str,
    device_name: str,
) -> None:
    """Make a new device's keys and save them with the question to ask.

    Args:
        code, genesis_code: the two parts of the invitation (`identity.link.read_invitation`).
    """
    now = vault.clock()
    account = parse_address(preview.account)
    endpoint = Endpoint.create(account, now_ms=now, random=vault.random)
    request = LinkRequest(code, endpoint.certificate.encode(), check_name(device_name))
    vault.found(
        endpoint,
        DeviceInfo(
            server=server,
            account=account,
            person_name=preview.name,
            device_name=device_name,
            stage="joining",
            genesis_code=genesis_code,
            call=msgspec.json.encode(request),
            charter=preview.charter.version,
        ),
    )


class Joining:
    """A new device that waits to be approved. Show `approval_code` on its screen.

    The user types it into (or scans it with) a device of the account, which so knows that it
    approves this device's keys and no others.
    """

    def __init__(
        self, vault: Vault, calls: Calls, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._vault = vault
        self._calls = calls
        self._sleep = sleep

    @property
    def approval_code(self) -> str:
        """Four groups of four characters."""
        return link.approval_code(self._vault.certificate)

    async def asked(self) -> None:
        """Tell the server that this device asks to join."""
        await self._calls.post_open("/v1/links", self._vault.info.call, LinkStatus)

    async def approved(self) -> None:
        """Wait until a device of the account approved this one, then leave prekeys.

        Raises:
            RefusedByServer: the invitation ended; begin anew with another.
            ServerError: rosters that do not hold, or of another account than the invitation's.
        """
        while not (rosters := await self._rosters()):
            await self._sleep(POLL_EVERY)
        account, info = self._vault.account, self._vault.info
        try:
            newest = verify_chain(rosters, account=account, known=None)
        except (Untrusted, Malformed) as error:
            raise ServerError(str(error)) from None
        if not hmac.compare_digest(link.genesis_code(newest.genesis), info.genesis_code):
            # A founding of the server's own, with "devices" that would read all we write.
            raise ServerError("another account than the invitation's")
        entry = newest.find(self._vault.device)
        if entry is None or entry.certificate != self._vault.certificate:
            raise ServerError("this device is not in its account's roster")
        with self._vault.change() as endpoint:
            now = self._vault.clock()
            prekeys = endpoint.new_prekeys(limits.PREKEYS_UPLOADED, now_ms=now)
            prekeys.append(endpoint.new_last_resort(now_ms=now))
        try:
            await self._calls.post(
                "/v1/prekeys", PrekeysUploaded(tuple(one.encode() for one in prekeys)), PrekeyCount
            )
        except RefusedByServer as refused:
            # The server was restored meanwhile: the first connection is told so, and leaves others.
            if refused.code is not Code.PREKEYS_STALE:
                raise
        _ready(self._vault, newest, rosters)

    async def _rosters(self) -> tuple[bytes, ...]:
        status = await self._calls.post_open("/v1/links/status", self._vault.info.call, LinkStatus)
        return status.rosters


def sign_charter(endpoint: Endpoint, charter: Charter, now_ms: int) -> CharterSigned:
    """Accept the charter that was shown: the hash is made of the text, not taken from the server."""
    text_hash = charters.charter_hash(f"{charter.en}\n{charter.fr}")
    signed = charters.accept(
        endpoint.signing_key,
        endpoint.certificate,
        version=charter.version,
        text_hash=text_hash,
        at_ms=now_ms,
    )
    return CharterSigned(signed.version, signed.text_hash, signed.at_ms, signed.signature)


def _ready(
    vault: Vault,
    newest: Roster,
    blobs: list[bytes] | tuple[bytes, ...],
    *,
    person: str = "",
    vouched: Vouched | None = None,
) -> None:
    info = vault.info
    info.stage, info.call = "ready", b""
    with vault.store.transaction():
        vault.put_info(info)
        for blob in blobs:
            vault.chain.put(u64(decode(blob).version), blob)
        vault.contacts.put(
            newest.account.encode(),
            Contact(
                address=newest.account,
                name=info.person_name,
                profession="",
                person=person,
                attested="operator" if vouched is None else "provider",
                vouched=vouched,
                genesis=newest.genesis,
                roster=newest.encode(),
                verified=True,
            ),
        )


async def preview_recovery(calls: Calls, code: str) -> RecoveryPreview:
    """Whose account a recovery code recovers, before it is used."""
    return await calls.post_open("/v1/recoveries/preview", CodeGiven(code), RecoveryPreview)


async def preview_code(calls: Calls, code: str, *, join: bool) -> EnrolmentPreview:
    """Whom a code would enrol, before it is used."""
    path = "/v1/links/preview" if join else "/v1/enrolment/preview"
    return await calls.post_open(path, CodeGiven(code), EnrolmentPreview)


def ask(preview: EnrolmentPreview, accept: Accept | bool) -> None:
    """Have the user confirm; raises `ClientError` charter_declined."""
    if not (accept if isinstance(accept, bool) else accept(preview)):
        raise ClientError(Trouble.CHARTER_DECLINED)


async def wait(seconds: float) -> None:
    """The pause between two questions."""
    await asyncio.sleep(seconds)


OVER_CODES = frozenset({Code.CODE_UNKNOWN, Code.CODE_USED, Code.CODE_EXPIRED})
"""After these a saved enrolment call will never succeed."""


def is_over(error: RefusedByServer) -> bool:
    """Whether an enrolment that was begun can never be finished."""
    return error.code in OVER_CODES or error.code is Code.ALREADY_ENROLLED
