"""The server's settings: from the command line, else MISS_* variables, else the defaults here."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from miss_protocol import limits
from miss_protocol.ids import is_domain


class Settings(BaseSettings):
    """What an operator can set. Unknown names in a settings file are refused."""

    model_config = SettingsConfigDict(env_prefix="MISS_", extra="forbid", frozen=True)

    domain: str = Field(
        "localhost", description="the domain in account addresses; it can never change later"
    )
    database: Path = Field(Path("miss.sqlite"), description="the SQLite file")
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8440, ge=0, le=65535, description="the port to listen on; 0 picks a free one")
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
        limits.ENROLMENT_TRIES_PER_HOUR, ge=1, description="wrong codes from one address"
    )
    log_json: bool = Field(False, description="write the log as JSON lines")

    @field_validator("domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        if not is_domain(value):
            raise ValueError("must be a lower-case domain name, as miss.example.org")
        return value
