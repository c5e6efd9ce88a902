"""The address of a PostgreSQL database, which may hold a password that nobody else should see."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from miss_server.secret_url import parts_of

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
_ITS_PASSWORD = re.compile(r"(?<=password=)[^&]*", re.IGNORECASE)
"""In the options of an address, as `password` or `sslpassword`."""


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
        if not self.secret.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
            # `postgresql:miss@host/miss` would be an address without a host.
            raise ValueError(
                "must begin with postgresql://; if a file is meant, its path must begin with / or ./"
            )
        parts = parts_of(self.secret, like="postgresql://miss@db.example.org/miss")
        if not parts.path.strip("/"):
            raise ValueError("names no database: postgresql://host/DATABASE")

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.secret)

    def __str__(self) -> str:
        parts = self._parts
        query = _ITS_PASSWORD.sub(HIDDEN, parts.query)
        if parts.password is None and query == parts.query:
            return self.secret
        netloc = parts.netloc if parts.password is None else _netloc(parts, HIDDEN)
        return urlunsplit(parts._replace(netloc=netloc, query=query))

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
