"""Picks the line between nodes that the settings name, if any."""

from miss_server.config import Settings
from miss_server.doorbell.line import Line
from miss_server.dsn import Dsn


def line_of(settings: Settings) -> Line | None:
    """How a process reaches the nodes of its service; None if there is one alone.

    What the settings do not ask for is not loaded: a single node starts in half the time.
    """
    if settings.redis is not None:
        from miss_server.doorbell.redis import RedisLine

        return RedisLine(settings.redis.get_secret_value(), settings.domain)
    if isinstance(settings.database, Dsn):
        from miss_server.doorbell.postgres import PostgresLine

        return PostgresLine(settings.postgres.secret, settings.domain)
    return None
