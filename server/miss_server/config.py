"""The server's settings: from the command line, else MISS_* variables, else the file of such lines
that MISS_SETTINGS names, else the files in the folder MISS_SECRETS, else the defaults here."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeInt,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from miss_protocol import limits
from miss_protocol.errors import Malformed
from miss_protocol.identity.enrolment_link import origin
from miss_protocol.ids import is_domain
from miss_protocol.languages import Language
from miss_server.dsn import Dsn, looks_like_one
from miss_server.edge.addresses import Network, ProxyHeaders
from miss_server.node import NAME as NODE_NAME
from miss_server.refusals import Refusal
from miss_server.secret_url import parts_of
from miss_server.words import Both

Role = Annotated[str, StringConstraints(pattern=r"^([0-9A-Z]{1,8}|administrator)$")]
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class LostDatabaseError(Refusal):
    """The settings are those of a node on PostgreSQL, but their database is a file."""

    do = Both(
        "Set MISS_DATABASE to the service's postgresql:// address; or, for a single node with a file,"
        " take these settings away.",
        "Donnez à MISS_DATABASE l'adresse postgresql:// du service ; ou, pour un nœud seul avec un"
        " fichier, retirez ces réglages.",
    )


class NoFileError(Exception):
    """What was asked for is only there for a SQLite file; the text names the database."""


class Settings(BaseSettings):
    """What an operator can set. Unknown names in a settings file are refused."""

    model_config = SettingsConfigDict(env_prefix="MISS_", extra="forbid", frozen=True)

    domain: str = Field(
        "localhost", description="the domain in account addresses; it can never change later"
    )
    # Without `NoDecode` a file of MISS_SECRETS would have to hold it as JSON.
    database: Annotated[Path | Dsn, NoDecode] = Field(
        Path("miss.sqlite"),
        description="the SQLite file, or a PostgreSQL database: postgresql://miss@host/miss",
    )
    database_password: SecretStr | None = Field(
        None, description="PostgreSQL's password, if it is not in the address or in PGPASSFILE"
    )
    database_connections: int = Field(
        8, ge=2, le=100, description="connections of this process to PostgreSQL, at most"
    )
    node_folder: Path = Field(
        Path("miss-node"), description="this node's own folder, beside a shared PostgreSQL"
    )
    redis: SecretStr | None = Field(
        None,
        description="the Redis that nodes share, as redis://:PASSWORD@HOST:6379/0 (or rediss, unix)",
    )
    node: str | None = Field(
        None,
        pattern=rf"^{NODE_NAME}$",
        description="this node's name among several; by default one that its folder keeps",
    )
    workers: int = Field(
        1, ge=1, le=64, description="processes behind the port, each a node; PostgreSQL only"
    )
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8440, ge=0, le=65535, description="the port to listen on; 0 picks a free one")
    tls_cert: Path | None = Field(
        None, description="the certificate with its chain, PEM; with it the server speaks TLS"
    )
    tls_key: Path | None = Field(None, description="the certificate's private key, PEM")
    public_url: str | None = Field(
        None, description="where clients reach the service, for letters; by default https://DOMAIN"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="addresses or networks, by commas, whose word on their clients is taken"
    )
    proxy_headers: ProxyHeaders = Field(
        "x-forwarded", description="what they tell it by: x-forwarded (-for, -proto) or forwarded"
    )
    max_connections: int = Field(16_384, ge=1, description="connections of this process, in all")
    max_strangers: int = Field(
        4_096, ge=1, description="of those, how many that have not logged in (yet)"
    )
    connections_per_address: int = Field(
        12_000, ge=1, description="connections of one address, of which a hospital has only one"
    )
    address_rate: float = Field(
        200.0,
        gt=0,
        description="new connections a second of one address; who proves a key does not count",
    )
    address_burst: int = Field(6_000, ge=1, description="new ones of it that may come at once")
    charter_version: str = Field("2026-1", max_length=64, description="the charter's version")
    charter_en: Path | None = Field(None, description="the charter in English, a UTF-8 text file")
    charter_fr: Path | None = Field(None, description="the charter in French, a UTF-8 text file")
    minimum_app: dict[str, str] = Field(
        default_factory=dict, description="the oldest version of an app that may connect, by name"
    )
    sweep_every: float = Field(
        limits.SWEEP_EVERY, gt=0, description="seconds between looks for messages nobody rang for"
    )
    drain_seconds: float = Field(10.0, ge=0, description="time to end connections in order")
    enrolment_tries_per_hour: int = Field(
        limits.ENROLMENT_TRIES_PER_HOUR,
        ge=1,
        description="wrong codes of which one address is told",
    )
    leaving_days: float = Field(
        30.0,
        ge=0,
        description="days between leaving the directory, or losing an attestation, and suspension",
    )
    leaving_every: float = Field(
        600.0, gt=0, description="seconds between looks for who has left the directory"
    )
    attestations_max: int = Field(
        20, ge=0, description="people without a national number for whom one account may vouch"
    )
    organisation_codes_per_day: int = Field(
        limits.ORGANISATION_CODES_PER_DAY,
        ge=0,
        description="enrolment codes that an organisation's administrators may issue within a day",
    )
    provider_discovery: str | None = Field(
        None, description="the identity provider's discovery document, an https:// URL"
    )
    provider_issuer: str | None = Field(
        None, description="its issuer, if that is not the URL up to /.well-known/"
    )
    provider_client_id: str | None = Field(None, description="this server's name at the provider")
    provider_client_secret: SecretStr | None = Field(
        None, description="this server's secret there: best a file of that name in MISS_SECRETS"
    )
    provider_redirect: str | None = Field(
        None, description="where it sends browsers back; by default the domain's own callback"
    )
    provider_scope: str = Field("openid scope_all", description="which claims are asked for")
    provider_acr: str = Field(
        "eidas1", description="accepted levels of assurance, the wished one first; empty for any"
    )
    provider_ciba: bool = Field(
        False, description="offer sign-ins by the person's own app, too (CIBA)"
    )
    provider_seconds: float = Field(
        10.0, gt=0, le=30, description="deadline of each question to it"
    )
    provider_ca: Path | None = Field(
        None, description="certificates that may vouch for it, PEM, if not the machine's own"
    )
    provider_renew_days: int = Field(
        0, ge=0, description="days after which identities are proven anew; 0 for never"
    )
    provider_notice_days: int = Field(30, ge=0, description="days before, when people are told")
    provider_grace_days: int = Field(14, ge=0, description="days after, until the account pauses")
    rings_per_hour: int = Field(
        3_000, ge=1, description="people asked on their own devices (CIBA) from one address"
    )
    first_messages: int = Field(
        limits.FIRST_MESSAGES, ge=1, description="messages to somebody who has not answered yet"
    )
    new_recipients_per_hour: int = Field(
        limits.NEW_RECIPIENTS_PER_HOUR,
        ge=0,
        description="people an account may write to for the first time within an hour",
    )
    new_recipients_per_day: int = Field(
        limits.NEW_RECIPIENTS_PER_DAY, ge=0, description="the same within a day"
    )
    new_recipients_by_role: dict[Role, tuple[NonNegativeInt, NonNegativeInt]] = Field(
        {},
        description="higher ones, hour and day, by profession (TRE_G15) or for an organisation's"
        ' administrators: {"86": [40, 120], "administrator": [60, 300]}',
    )
    report_days: float = Field(
        90.0, ge=0, le=3650, description="days for which a report is kept once it is closed"
    )
    recovery_hours: float = Field(
        72.0, ge=0, description="hours in which a device may object to a recovery of its account"
    )
    metrics_from: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="addresses or networks, by commas, that may read /metrics",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="a port for /metrics alone, without TLS; each further worker takes the next one",
    )
    metrics_host: str = Field("127.0.0.1", description="the address of that port")
    smtp: str | None = Field(
        None,
        description="the mail server for invitations: smtp://host:587 (STARTTLS) or smtps://host:465",
    )
    smtp_from: str | None = Field(
        None,
        pattern=r"^[^@\s<>]+@[^@\s<>]+$",
        description="the address that invitations come from, and that answers go to",
    )
    smtp_user: str | None = Field(None, description="how the mail server knows this one")
    smtp_password: SecretStr | None = Field(None, description="the password there")
    smtp_ca: Path | None = Field(
        None, description="whose certificates the mail server has, PEM; by default the machine's"
    )
    language: Language | None = Field(
        None,
        description="of letters and invitations to clinicians, fr or en; by default that of the"
        " environment (LANG), and French if it names none",
    )
    log_json: bool = Field(False, description="write the log as JSON lines")

    @field_validator("domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        if not is_domain(value):
            raise ValueError("must be a lower-case domain name, as miss.example.org")
        return value

    @field_validator("database", mode="before")
    @classmethod
    def _database(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.strip():
            raise ValueError("is empty: set a file's path, or postgresql://miss@host/miss")
        return Dsn(value) if looks_like_one(value) else value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        try:
            return None if value is None else origin(value)
        except Malformed:
            raise ValueError("must be an address as https://miss.example.org") from None

    @property
    def address(self) -> str:
        """Where clients reach the service."""
        return self.public_url or f"https://{self.domain}"

    @property
    def metrics_ports(self) -> range:
        """The ports at which `/metrics` is answered; none if it is on the common one."""
        first = self.metrics_port or 0
        return range(first, first + (self.workers if first else 0))

    @property
    def file(self) -> Path:
        """The SQLite file.

        Raises:
            NoFileError: the database is PostgreSQL's.
        """
        if isinstance(self.database, Dsn):
            raise NoFileError(f"{self.database} is no SQLite file")
        return self.database

    def must_not_be_lost(self) -> None:
        """See that what only several nodes need does not stand beside a SQLite file.

        A node whose `MISS_DATABASE` is missing would serve a new, empty file, and tell clients that
        they are unknown.

        Raises:
            LostDatabaseError: it does.
        """
        given = {"MISS_REDIS": self.redis, "MISS_NODE": self.node}
        names = " ".join(name for name, value in given.items() if value is not None)
        if names and not isinstance(self.database, Dsn):
            text = Both(
                f"{names}: only for nodes on PostgreSQL, and the database is the file {self.database}",
                f"{names} : réservé aux nœuds sur PostgreSQL, or la base est le fichier {self.database}",
            )
            raise LostDatabaseError(str(text))

    @property
    def postgres(self) -> Dsn:
        """The address of the PostgreSQL database, with its password."""
        assert isinstance(self.database, Dsn)  # noqa: S101  # the caller has looked
        if self.database_password is None:
            return self.database
        return self.database.with_password(self.database_password.get_secret_value())

    @field_validator("redis")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        # Its own text would show the password.
        if not value.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        parts_of(value.get_secret_value(), like="redis://:PASSWORD@HOST:6379/0")
        return value

    @field_validator("trusted_proxies", "metrics_from", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        words = [word for word in value.replace(",", " ").split() if word]
        try:
            return tuple(ip_network(word) for word in words)
        except ValueError as error:
            raise ValueError(f"{error}: write addresses or networks, as 10.0.0.0/24") from error

    @model_validator(mode="after")
    def _both_or_none(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: set both or none")
        return self
