"""The address of a PostgreSQL database, which may hold a password that nobody else should see."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

SCHEMES = ("postgresql", "postgres")
HIDDEN = "***"

_A_PATH = re.compile(r"[./]")
"""How a file is named that no address can be taken for, whatever follows."""
_AN_ADDRESS = re.compile(
    "://|@"
    rf"|^(?:{'|'.join(SCHEMES)}):"
    r"|^[^/]*:\d+(?:/|$)"  # db.example.org:5432/miss
    r"|\b(?:host|hostaddr|port|user|password|service|dbname)\s*=",
    re.IGNORECASE,
)
"""What operators write who mean a PostgreSQL database, some of them not as it must be written."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """A `postgresql://user@host:port/database?option=value` address; as text it hides the password.

    What it leaves out comes from the variables of PostgreSQL's own programs (PGPASSFILE, PGSSLMODE
    and so on; https://www.postgresql.org/docs/15/libpq-envars.html).

    Raises:
        ValueError: it is none, or names no database; the text says what is missing.
    """

    secret: str = field(repr=False)
    """The whole of it, for the driver alone."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.secret)
            _ = parts.port
        except ValueError:
            # The parser's own words would show the address with its password.
            raise ValueError("is no address, as postgresql://miss@db.example.org/miss") from None
        if not self.secret.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
            # `postgresql:miss@host/miss` would be an address without a host.
            raise ValueError(
                "must begin with postgresql://; if a file is meant, its path must begin with / or ./"
            )
        if not parts.path.strip("/"):
            raise ValueError("names no database: postgresql://host/DATABASE")

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.secret)

    def __str__(self) -> str:
        parts = self._parts
        if parts.password is None:
            return self.secret
        return urlunsplit(parts._replace(netloc=_netloc(parts, HIDDEN)))

    def with_password(self, password: str) -> "Dsn":
        """The same with this password, unless it has one."""
        parts = self._parts
        if parts.password is not None:
            return self
        return Dsn(urlunsplit(parts._replace(netloc=_netloc(parts, quote(password, safe="")))))

    @property
    def database(self) -> str:
        """The name of the database."""
        return unquote(self._parts.path.strip("/"))


def looks_like_one(text: str) -> bool:
    """Whether an operator meant an address and not a file: a new, empty database would serve in the
    place of the one that is meant."""
    return not _A_PATH.match(text) and _AN_ADDRESS.search(text) is not None


def _netloc(parts: SplitResult, password: str) -> str:
    _, at, host = parts.netloc.rpartition("@")
    user = parts.netloc.rpartition("@")[0].partition(":")[0] if at else ""
    return f"{user}:{password}@{host}"
