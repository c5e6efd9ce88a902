"""How many files this process may have open: each connection is one."""

import resource
import sys

from miss_server.refusals import Refusal

KEPT_BACK = 256
"""For the database, the log, and connections that are being turned away."""


class TooFewFilesError(Refusal):
    """The system allows fewer open files than the settings need; the text says what to change."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one; returns the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed


def connections_possible(wanted: int, *, allowed: int, must: bool) -> int:
    """How many connections there may be.

    Args:
        wanted: by the settings.
        allowed: open files, from `raise_limit`.
        must: the operator asked for so many; else fewer will do.

    Raises:
        TooFewFilesError: not as many as must be, or none at all.
    """
    possible = allowed - KEPT_BACK
    if possible < (wanted if must else 1):
        raise TooFewFilesError(
            f"{allowed} open files are too few for {wanted} connections: allow"
            f" {wanted + KEPT_BACK} (LimitNOFILE= of systemd, `ulimit -n`)"
            " or lower MISS_MAX_CONNECTIONS"
        )
    return min(wanted, possible)
