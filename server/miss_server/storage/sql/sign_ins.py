"""Sign-ins at an identity provider: from the app's secret to what was proved."""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, bindparam, delete, insert, or_, select, update

from miss_protocol.errors import Code, Refused
from miss_protocol.ids import ID_BYTES, AccountAddress, new_address
from miss_server.storage.proof_tables import sign_ins
from miss_server.storage.proofs import TRIES_MAX, Begun, Shown, SignIn
from miss_server.storage.sql import schemas, settings
from miss_server.storage.sql.dialects import Upsert, is_postgres

SCHEMA = 2
"""The schema that brought these tables."""
KEPT_MS = 24 * 3600 * 1000
"""Those that came to something are kept for a while after their end: a reply may have been lost."""
_TIME_BYTES, _SEAL_BYTES = 6, 24

_COLUMNS = (
    sign_ins.c.id,
    sign_ins.c.account,
    sign_ins.c.renews,
    sign_ins.c.stage,
    sign_ins.c.method,
    sign_ins.c.verifier,
    sign_ins.c.request,
    sign_ins.c.hint,
    sign_ins.c.call.label("genesis"),
    sign_ins.c.begun_ms,
    sign_ins.c.shown,
    sign_ins.c.code,
    sign_ins.c.reason,
    sign_ins.c.expires_ms,
)
_KEEP = Upsert(sign_ins, lambda insert: insert.on_conflict_do_nothing())
FORGOTTEN_AT_ONCE = 200
"""Rows: a flood's many are not deleted at once, which would hold up everybody's messages."""
_OVER = (
    select(sign_ins.c.id)
    .where(
        sign_ins.c.expires_ms <= bindparam("now_"),
        or_(
            sign_ins.c.expires_ms <= bindparam("ended_"),
            and_(sign_ins.c.renews.is_(False), sign_ins.c.stage != "done"),
        ),
    )
    .order_by(sign_ins.c.expires_ms)
    .limit(FORGOTTEN_AT_ONCE)
    # On PostgreSQL, where other nodes do the same; SQLite has no such words and needs none.
    .with_for_update(skip_locked=True)
)


def _hash(connection: Connection, kind: bytes, text: str) -> bytes:
    """Three kinds of secrets: that none is ever taken for another's hash."""
    pepper = settings.secret(connection)
    return blake2b(text.encode(), key=pepper, digest_size=32, person=b"MiSS1 " + kind).digest()


def new_secret(connection: Connection, account: AccountAddress, expires_ms: int) -> str:
    """See `Proofs.new_sign_in`: the account's id and the time, sealed."""
    schemas.require(connection, SCHEMA)
    local = account.partition("@")[0]
    said = base64.b32decode(f"{local.upper()}======") + expires_ms.to_bytes(_TIME_BYTES)
    return _spelt(said + _seal(connection, said))


def _spelt(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(connection: Connection, said: bytes) -> bytes:
    pepper = settings.secret(connection)
    return blake2b(said, key=pepper, digest_size=_SEAL_BYTES, person=b"MiSS1 sign-seal").digest()


def _said(connection: Connection, secret: str) -> SignIn | None:
    """The sign-in that a secret of `new_secret` says, as it is before it is begun."""
    try:
        raw = base64.b64decode(f"{secret}==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _spelt(raw) != secret:
        # Another spelling of the same bytes would be another sign-in of the same account.
        return None
    said, seal = raw[:-_SEAL_BYTES], raw[-_SEAL_BYTES:]
    if not compare_digest(seal, _seal(connection, said)):
        return None
    domain = (settings.get(connection, "domain") or b"").decode()
    return SignIn(
        id=_hash(connection, b"sign-in", secret),
        account=new_address(said[:ID_BYTES], domain),
        renews=False,
        stage="open",
        method="code",
        verifier="",
        request="",
        hint="",
        genesis=b"",
        begun_ms=0,
        shown=None,
        code="",
        reason="",
        expires_ms=int.from_bytes(said[ID_BYTES:]),
    )


def open_renewal(
    connection: Connection,
    secret: str,
    account: AccountAddress,
    expires_ms: int,
    now_ms: int,
) -> None:
    """See `Proofs.open_renewal`."""
    schemas.require(connection, SCHEMA)
    _forget(connection, now_ms)
    connection.execute(
        insert(sign_ins).values(
            id=_hash(connection, b"sign-in", secret),
            account=account,
            renews=True,
            stage="open",
            expires_ms=expires_ms,
        )
    )


def _forget(connection: Connection, now_ms: int) -> None:
    """Some of those that are over; of those that came to nothing the secret itself still tells that they are."""
    over = connection.execute(_OVER, {"ended_": now_ms - KEPT_MS, "now_": now_ms}).scalars().all()
    if over:
        connection.execute(delete(sign_ins).where(sign_ins.c.id.in_(over)))


def find(connection: Connection, secret: str, now_ms: int, *, lock: bool = False) -> SignIn:
    """See `Proofs.sign_in`."""
    schemas.require(connection, SCHEMA)
    found = select(*_COLUMNS).where(sign_ins.c.id == _hash(connection, b"sign-in", secret))
    one = _one(connection, found, lock) or _said(connection, secret)
    if one is None:
        raise Refused(Code.SIGN_IN_UNKNOWN)
    if one.expires_ms <= now_ms and one.stage != "done":
        raise Refused(Code.SIGN_IN_OVER)
    return one


def _one(connection: Connection, found: Select[Any], lock: bool) -> SignIn | None:
    if lock and is_postgres(connection):
        # In a statement of its own: the next one sees what the other one committed.
        connection.execute(found.with_for_update()).all()
    row = connection.execute(found).one_or_none()
    if row is None:
        return None
    values = row._asdict()
    shown = msgspec.json.decode(values["shown"], type=Shown) if values["shown"] else None
    return SignIn(**{**values, "shown": shown})


def begin(
    connection: Connection, some: Sequence[tuple[str, Begun]], now_ms: int
) -> list[Refused | None]:
    """See `Proofs.begin_sign_ins`."""
    schemas.require(connection, SCHEMA)
    _forget(connection, now_ms)
    told: list[Refused | None] = [None] * len(some)
    named = [(_hash(connection, b"sign-in", secret), at) for at, (secret, _) in enumerate(some)]
    # In one order for all: two that have several in common would wait for each other.
    for _, at in sorted(named):
        try:
            _begin(connection, *some[at], now_ms)
        except Refused as refused:
            told[at] = refused
    return told


def _begin(connection: Connection, secret: str, begun: Begun, now_ms: int) -> None:
    """Begin one; what is refused has changed nothing."""
    said = _said(connection, secret)
    if said is not None and said.expires_ms > now_ms:
        _KEEP.run(
            connection,
            id=said.id,
            account=said.account,
            renews=False,
            stage="open",
            expires_ms=said.expires_ms,
        )
    one = find(connection, secret, now_ms, lock=True)
    if one.stage not in ("open", "waiting", "failed"):
        raise Refused(Code.SIGN_IN_OVER, one.stage)
    connection.execute(
        update(sign_ins)
        .where(sign_ins.c.id == one.id)
        .values(
            stage="waiting",
            method=begun.method,
            state_hash=_hash(connection, b"state", begun.state) if begun.state else None,
            verifier=begun.verifier,
            request=begun.request,
            interval_s=begun.interval,
            polled_ms=now_ms,
            hint=begun.hint,
            call=begun.genesis,
            # Rising, whatever the clock does: it tells one attempt from the next.
            begun_ms=max(now_ms, one.begun_ms + 1),
            code="",
            reason="",
        )
    )


def take_state(connection: Connection, state: str, now_ms: int) -> SignIn:
    """See `Proofs.take_state`."""
    schemas.require(connection, SCHEMA)
    hashed = _hash(connection, b"state", state)
    one = _one(connection, select(*_COLUMNS).where(sign_ins.c.state_hash == hashed), True)
    if one is None or one.expires_ms <= now_ms or one.stage != "waiting":
        raise Refused(Code.SIGN_IN_OVER, "state")
    connection.execute(
        update(sign_ins).where(sign_ins.c.id == one.id).values(state_hash=None, verifier="")
    )
    return one


def may_poll(connection: Connection, one: SignIn, now_ms: int) -> bool:
    """See `Proofs.may_poll`."""
    due = (
        update(sign_ins)
        .where(
            sign_ins.c.id == one.id,
            sign_ins.c.stage == "waiting",
            sign_ins.c.polled_ms + sign_ins.c.interval_s * 1000 <= now_ms,
        )
        .values(polled_ms=now_ms)
    )
    return connection.execute(due).rowcount == 1


def slower(connection: Connection, one: SignIn, seconds: int) -> None:
    """See `Proofs.poll_slower`."""
    connection.execute(
        update(sign_ins)
        .where(sign_ins.c.id == one.id)
        .values(interval_s=sign_ins.c.interval_s + seconds)
    )


def note_shown(connection: Connection, one: SignIn, shown: Shown, confirmation: str) -> bool:
    """See `Proofs.note_shown`."""
    return _end(
        connection,
        one,
        stage="signed_in" if confirmation else "confirmed",
        shown=msgspec.json.encode(shown),
        confirm_hash=_hash(connection, b"confirm", confirmation) if confirmation else None,
        tries=0,
    )


def note_failed(connection: Connection, one: SignIn, code: str, reason: str) -> None:
    """See `Proofs.note_failed`."""
    _end(connection, one, stage="failed", code=code, reason=reason)


def _end(connection: Connection, one: SignIn, **values: Any) -> bool:
    """End an attempt, unless another was begun meanwhile: a token of the earlier one would name the
    genesis of the earlier one."""
    ended = (
        update(sign_ins)
        .where(
            sign_ins.c.id == one.id,
            sign_ins.c.begun_ms == one.begun_ms,
            sign_ins.c.stage == "waiting",
        )
        .values(state_hash=None, verifier="", request="", **values)
    )
    return connection.execute(ended).rowcount == 1


def confirm(connection: Connection, secret: str, confirmation: str, now_ms: int) -> bool:
    """See `Proofs.confirm`."""
    one = find(connection, secret, now_ms, lock=True)
    if one.stage in ("confirmed", "done"):
        return True
    if one.stage != "signed_in":
        raise Refused(Code.OUT_OF_PLACE, one.stage)
    hashed, tries = connection.execute(
        select(sign_ins.c.confirm_hash, sign_ins.c.tries).where(sign_ins.c.id == one.id)
    ).one()
    right = bool(hashed == _hash(connection, b"confirm", confirmation))
    stage = "confirmed" if right else "failed" if tries + 1 >= TRIES_MAX else "signed_in"
    values: dict[str, Any] = {"stage": stage, "tries": tries + 1}
    if stage == "failed":
        values |= {"code": Code.CONFIRMATION_WRONG.wire, "shown": b""}
    connection.execute(update(sign_ins).where(sign_ins.c.id == one.id).values(**values))
    return right


def done(connection: Connection, one: SignIn) -> None:
    """The sign-in is carried out: what it proved is in `proofs` now, its token here no more."""
    connection.execute(
        update(sign_ins).where(sign_ins.c.id == one.id).values(stage="done", shown=b"", call=b"")
    )
