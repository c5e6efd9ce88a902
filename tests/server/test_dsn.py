"""The address of a database: its password is for the driver alone."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from miss_server.config import NoFileError, Settings
from miss_server.dsn import Dsn

SECRET = "pa/ss:w@rd"  # noqa: S105  # fictive
WITH = "postgresql://miss:pa%2Fss%3Aw%40rd@db.example:5433/miss?sslmode=verify-full"
WITHOUT = "postgresql://miss@db.example:5433/miss?sslmode=verify-full"


def test_a_password_is_never_in_the_text() -> None:
    dsn = Dsn(WITH)
    assert str(dsn) == WITH.replace("pa%2Fss%3Aw%40rd", "***")
    assert "pa%2F" not in repr(dsn)
    assert dsn.secret == WITH
    assert dsn.database == "miss"
    assert str(Dsn(WITHOUT)) == WITHOUT
    option = "postgresql://miss@db.example/miss?password={}&sslmode=require&sslpassword={}"
    assert str(Dsn(option.format("one", "two"))) == option.format("***", "***")
    assert "one" not in repr(Dsn(option.format("one", "two")))


def test_a_password_from_elsewhere_is_put_in_unless_there_is_one() -> None:
    assert Dsn(WITHOUT).with_password(SECRET) == Dsn(WITH)
    assert Dsn(WITH).with_password("another") == Dsn(WITH)
    assert Dsn("postgres:///miss?host=/run/pg").with_password(SECRET).secret == (
        "postgres://:pa%2Fss%3Aw%40rd@/miss?host=/run/pg"  # noqa: S105  # fictive
    )


def chosen(**given: Any) -> Settings:
    return Settings(**given)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mysql://a/b", "must begin with postgresql://"),
        ("postgresql://miss:secret@host:port/b", "is no address"),
        ("postgresql://miss:secret@[::1/b", "is no address"),
        ("postgresql://miss:secret@host/", "names no database"),
        ("postgresql://miss:very/secret@host/miss", "/ is written %2F"),
        ("postgresql://miss:12/secret@host/miss", "/ is written %2F"),
        ("postgresql://miss:12/b?secret@host/miss", "? %3F"),
        ("postgresql://miss:p@12/secret@host/miss", "@ %40"),
        ("postgresql://miss:12/b#secret@host/miss", "# %23"),
        ("host=127.0.0.1 password=secret dbname=miss", "must begin with postgresql://"),
        ("dbname = miss", "must begin with postgresql://"),
        ("postgres:/miss:secret@host/miss", "must begin with postgresql://"),
        ("postgresql:miss@db/miss", "must begin with postgresql://"),
        ("PostgreSQL:db/miss", "must begin with postgresql://"),
        ("db.internal:5432/miss", "must begin with postgresql://"),
        ("db.internal:5432", "must begin with postgresql://"),
        ("miss@db.internal/miss", "must begin with postgresql://"),
        ("miss@db.internal/miss", "its path must begin with / or ./"),
        ("", "is empty"),
        (" ", "is empty"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(text: str, why: str) -> None:
    with pytest.raises(ValidationError) as raised:
        chosen(database=text)
    said = "; ".join(str(item["msg"]) for item in raised.value.errors(include_input=False))
    assert why in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("url", "sign"),
    [
        ("redis://:Geheim/wort@127.0.0.1:7390/0", "/ is written %2F"),
        ("redis://:12/Geheim@127.0.0.1:7390/0", "/ is written %2F"),
        ("redis://:12/a?Geheim@127.0.0.1:7390/0", "? %3F"),
        ("rediss://miss:Geheim#wort@redis.example/0", "# %23"),
        ("rediss://:12#Geheim@redis.example/0", "# %23"),
        ("unix://:Geheim/wort@/run/redis.sock", "/ is written %2F"),
        ("unix://:12/Geheim@/run/redis.sock", "/ is written %2F"),
        ("redis://:[Geheim@127.0.0.1/0", "is no address"),
        ("redis://:geheim@127.0.0.1:Geheim/0", "is no address"),
    ],
)
def test_a_password_of_redis_that_ends_too_soon_is_not_said(url: str, sign: str) -> None:
    with pytest.raises(ValidationError) as raised:
        chosen(redis=url)
    said = "; ".join(str(item["msg"]) for item in raised.value.errors(include_input=False))
    assert sign in said
    assert "geheim" not in said.lower()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:a%2Fb%23c%3Fd%40e%25@127.0.0.1:7390/0",
        "rediss://miss:geh@im@redis.example",
        "unix://:geheim@/run/redis.sock?db=1",
        "redis://[::1]:6379/0",
    ],
)
def test_what_is_an_address_of_redis(url: str) -> None:
    redis = chosen(redis=url).redis
    assert redis is not None
    assert redis.get_secret_value() == url


def test_the_setting_takes_a_file_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISS_DATABASE", WITHOUT)
    monkeypatch.setenv("MISS_DATABASE_PASSWORD", SECRET)
    assert chosen().postgres == Dsn(WITH)
    assert SECRET not in repr(chosen())
    monkeypatch.delenv("MISS_DATABASE_PASSWORD")
    assert chosen().postgres == Dsn(WITHOUT)
    with pytest.raises(NoFileError, match="db.example"):
        _ = chosen().file
    monkeypatch.setenv("MISS_DATABASE", "some/file.sqlite")
    assert str(chosen().file) == "some/file.sqlite"


@pytest.mark.parametrize(
    "path",
    [
        "miss.sqlite",
        "data/my miss.sqlite",
        "postgres.sqlite",
        "/srv/miss@home/miss.sqlite",
        "/srv/12:30/host=a/miss.sqlite",
        "./db:5432/miss",
        "../miss@home.sqlite",
    ],
)
def test_a_file_is_a_file(path: str) -> None:
    assert chosen(database=path).file == Path(path)
