"""What `miss-server doctor` finds out about counting: a Redis that rings may refuse to count."""

from collections.abc import Callable, Sequence

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SlowRedis

from miss_server.findings import Finding, ok, warn
from miss_server.http.shared_counting import SharedCounts, refuses
from miss_server.redis_rights import rights
from miss_server.words import Both

_LATE = Both(
    "Redis takes too long to count: each node counts alone",
    "Redis met trop de temps à compter : chaque nœud compte seul",
)
_LOOK = Both(
    "Look at Redis's load and at the network to it.",
    "Voyez la charge de Redis et le réseau jusqu'à lui.",
)


async def examine(url: str, *, domain: str, now_ms: Callable[[], int]) -> Sequence[Finding]:
    """Count once as a node of `domain` does. A Redis that cannot be reached is another check's."""
    try:
        counts = SharedCounts(url, domain, now_ms)
    except ValueError:
        return []
    try:
        await counts.prove()
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, TimeoutError | SlowRedis):
            return [warn("limits", _LATE, _LOOK)]
        if not refuses(error):
            return []
        return [
            warn(
                "limits",
                Both(
                    f"Redis refuses to count ({error}): each node counts alone",
                    f"Redis refuse de compter ({error}) : chaque nœud compte seul",
                ),
                Both(
                    f"If it is about permissions: ACL SETUSER USER {rights(domain)}. Else look at"
                    " Redis's memory, disk and role.",
                    f"S'il s'agit de droits : ACL SETUSER COMPTE {rights(domain)}. Sinon, voyez la"
                    " mémoire, le disque et le rôle de Redis.",
                ),
            )
        ]
    finally:
        await counts.stop()
    return [ok("limits", "counted together", "comptées ensemble")]
