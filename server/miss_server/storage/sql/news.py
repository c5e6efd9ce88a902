"""Tells senders what became of their messages, for the quiet statements: expiry and revocation."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select, tuple_, update

from miss_protocol.ids import DeviceId
from miss_server.storage.schema import devices, sends
from miss_server.storage.settlement.news import News, Telling

_AT_ONCE = 256
_SENDS = select(
    sends.c.rowid_, sends.c.device, sends.c.sn, sends.c.message, sends.c.kind, sends.c.states
).where(tuple_(sends.c.device, sends.c.message).in_(bindparam("wanted", expanding=True)))
_TICKS = select(devices.c.id, devices.c.tick).where(
    devices.c.id.in_(bindparam("senders", expanding=True))
)
_RESULT = (
    update(sends)
    .where(sends.c.rowid_ == bindparam("row"))
    .values(
        states=bindparam("new_states"),
        tick=bindparam("new_tick"),
        open=bindparam("new_open"),
        kept_until_ms=bindparam("new_kept"),
    )
)
_TICK = update(devices).where(devices.c.id == bindparam("device")).values(tick=bindparam("last"))


def tell(connection: Connection, news: Sequence[News], now_ms: int) -> set[DeviceId]:
    """Change the states of the sends that the news are about; returns the senders to ring.

    Lock the senders' devices first: whoever changes a send's states holds its sender's device.
    """
    telling = Telling(news, now_ms)
    found: list[tuple[int, bytes, int, bytes, str, bytes]] = []
    for at in range(0, len(telling.wanted), _AT_ONCE):
        wanted = telling.wanted[at : at + _AT_ONCE]
        found += connection.execute(_SENDS, {"wanted": wanted}).all()
    telling.apply(found)
    if telling.senders:
        telling.number(connection.execute(_TICKS, {"senders": telling.senders}).all())
        connection.execute(
            _RESULT,
            [
                {
                    "row": rowid,
                    "new_states": states,
                    "new_tick": tick,
                    "new_open": waiting,
                    "new_kept": kept,
                }
                for rowid, states, tick, waiting, kept in telling.sends
            ],
        )
        connection.execute(
            _TICK, [{"device": device, "last": last} for device, last in telling.ticks]
        )
    return {sender for _, sender, _ in telling.told}
