"""What `miss-server doctor` finds out about Redis: who it is, and whether nodes may ring through it."""

import os
from collections.abc import Sequence
from time import perf_counter

from redis.exceptions import NoPermissionError, RedisError

from miss_server.doorbell import words
from miss_server.doorbell.interface import News
from miss_server.doorbell.line import LineDown, LineRefused
from miss_server.doorbell.redis import RedisLine, open_client
from miss_server.findings import Finding, bad, ok, warn
from miss_server.words import Both

VERSION_MIN = 7
"""Redis 7, or any Valkey, which says 7.2 when it is asked as Redis."""
SLOW_SECONDS = 0.05
"""For an answer: limits stop waiting after twice that and are counted by each node alone."""

_REACH = Both(
    "Start it, or correct MISS_REDIS. Meanwhile messages between nodes come seconds later.",
    "Démarrez-le, ou corrigez MISS_REDIS. D'ici là, les messages entre nœuds arrivent quelques"
    " secondes plus tard.",
)
_ALLOW = Both(
    "Correct MISS_REDIS or Redis's users: see Settings in server/README.md.",
    "Corrigez MISS_REDIS ou les comptes de Redis : voir Settings dans server/README.md.",
)


async def examine(url: str, *, domain: str) -> Sequence[Finding]:
    """Subscribe and publish as a node of `domain` does, then ask for the version.

    `url` is that of `RedisLine`; its password is in no finding.
    """
    line = RedisLine(url, domain)
    try:
        await line.open()
        begun = perf_counter()
        for word in words.encode(os.urandom(words.SPEAKER_BYTES), 1, News(), payload_max=1024):
            await line.say(word)  # as a node that has no news
        took = perf_counter() - begun
        version = await _version(url)
    except LineRefused as error:
        return [bad("Redis", Both(str(error), str(error)), _ALLOW)]
    except (LineDown, RedisError, OSError) as error:
        why = Both(f"is not reached ({error})", f"n'est pas joint ({error})")
        return [warn("Redis", why, _REACH)]
    finally:
        await line.close()
    return [judged(version, took)]


async def _version(url: str) -> str | None:
    """As it says itself; None if its user may not ask."""
    client = open_client(url)
    try:
        told = await client.info("server")
    except NoPermissionError:
        return None
    finally:
        await client.aclose()
    return str(told["redis_version"])


def judged(version: str | None, took: float) -> Finding:
    """What a version, if it is known, and the seconds that a word took come to."""
    milliseconds = f"{took * 1000:.1f} ms"
    name = "?" if version is None else version
    text = Both(
        f"version {name}, answers in {milliseconds}", f"version {name}, répond en {milliseconds}"
    )
    if version is not None and int(version.partition(".")[0]) < VERSION_MIN:
        return warn(
            "Redis",
            text,
            Both(
                f"Nodes are tested with Redis {VERSION_MIN}: take it, a newer one, or Valkey.",
                f"Les nœuds sont testés avec Redis {VERSION_MIN} : prenez-le, un plus récent, ou"
                " Valkey.",
            ),
        )
    if took > SLOW_SECONDS:
        return warn(
            "Redis",
            text,
            Both(
                "Bring it nearer to the nodes, or look at what else it does.",
                "Rapprochez-le des nœuds, ou voyez ce qu'il fait d'autre.",
            ),
        )
    return ok("Redis", *text)
