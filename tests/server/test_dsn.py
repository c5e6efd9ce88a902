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
