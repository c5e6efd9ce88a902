"""How old each source of the directory may be before somebody should look: as often as it is published.

An alarm that rings although every import ran is one that nobody hears any more. Users are told each
source's age whatever it is.
"""

from collections.abc import Sequence

from miss_server.importers.activities import REGISTER
from miss_server.importers.establishments import ESTABLISHMENTS
from miss_server.importers.mailboxes import MAILBOXES

DAY_MS = 24 * 3600 * 1000
DAILY = (REGISTER, MAILBOXES)
LIMIT_DAYS = {**dict.fromkeys(DAILY, 7), ESTABLISHMENTS: 90}
"""The register and the mailboxes are published daily, establishments every two months. An operator's
own list and the communes may be right for years: their age alone says nothing."""


def is_old(source: str, age_ms: int) -> bool:
    """Whether data of this age wants a look."""
    limit = LIMIT_DAYS.get(source)
    return limit is not None and age_ms > limit * DAY_MS


def old_sources(made_from: Sequence[tuple[str, int]], now_ms: int) -> list[str]:
    """Those of the sources, given with the time of their data, that want a look."""
    return [name for name, date_ms in made_from if is_old(name, now_ms - date_ms)]


def ages(made_from: Sequence[tuple[str, int]], now_ms: int) -> str:
    """Each source with the days of its data, in words."""
    return ", ".join(f"{name} {(now_ms - date_ms) // DAY_MS}" for name, date_ms in made_from)
