"""Locks rows in the order that everybody keeps. Read what they hold in a later statement."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select

from miss_server.storage.schema import accounts, devices, mailboxes
from miss_server.storage.sql.dialects import is_postgres

_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_ACCOUNTS = (
    select(accounts.c.address)
    .where(accounts.c.address.in_(_KEYS))
    .order_by(accounts.c.address)
    .with_for_update()
)
_DEVICES = (
    select(devices.c.id).where(devices.c.id.in_(_KEYS)).order_by(devices.c.id).with_for_update()
)
_MAILBOXES = (
    select(mailboxes.c.device)
    .where(mailboxes.c.device.in_(_KEYS))
    .order_by(mailboxes.c.device)
    .with_for_update()
)


def account(connection: Connection, address: str) -> None:
    """Lock an account. Sends to it, which hold it FOR SHARE, are over or have not begun."""
    accounts_of(connection, [address])


def accounts_of(connection: Connection, addresses: Iterable[str]) -> None:
    """Lock accounts, whichever of these there are."""
    if is_postgres(connection):
        connection.execute(_ACCOUNTS, {"keys": sorted(addresses)}).all()


def devices_of(connection: Connection, ids: Iterable[bytes]) -> None:
    """Lock devices, whichever of these there are."""
    if is_postgres(connection):
        connection.execute(_DEVICES, {"keys": sorted(ids)}).all()


def mailboxes_of(connection: Connection, ids: Iterable[bytes]) -> None:
    """Lock the mailboxes of devices."""
    if is_postgres(connection):
        connection.execute(_MAILBOXES, {"keys": sorted(ids)}).all()
