"""What `miss-server doctor` finds out about counting: a Redis that rings may refuse to count."""

from collections.abc import Callable, Sequence

from redis.exceptions import RedisError

from miss_server.findings import Finding, ok, warn
from miss_server.http.shared_counting import SharedCounts, refuses
from miss_server.redis_rights import rights
from miss_server.words import Both


async def examine(url: str, *, domain: str, now_ms: Callable[[], int]) -> Sequence[Finding]:
    """Count once as a node of `domain` does. A Redis that does not answer is another check's."""
    counts = SharedCounts(url, domain, now_ms)
    try:
        await counts.prove()
    except (RedisError, OSError, TimeoutError) as error:
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
