"""Codes and close codes: each with texts in both languages and a rule for what comes next."""

import re

import pytest

from miss_protocol.errors import (
    CloseCode,
    Code,
    LocalError,
    Malformed,
    MissError,
    Refused,
    RemoteError,
    Retry,
    Undecryptable,
    Untrusted,
    code_of,
)


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.wire)
def test_a_code_has_a_name_texts_a_status_and_a_rule(code: Code) -> None:
    assert code.wire == code.name.lower()
    assert re.fullmatch(r"[a-z_]{3,64}", code.wire)
    assert isinstance(code.retry, Retry)
    assert 400 <= code.status < 600
    for language in ("en", "fr"):
        text = code.text(language)
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) <= 280
    assert code.text("fr") != code.text("en")
    assert code.text("de") == code.text("en")
    assert code_of(code.wire) is code


def test_what_is_tried_again_is_a_matter_of_time() -> None:
    for code in Code:
        if code.status in (429, 503):
            assert code.retry is Retry.SAME


def test_a_code_of_a_newer_peer_is_not_known() -> None:
    assert code_of("teapot") is None


@pytest.mark.parametrize("code", list(CloseCode), ids=lambda code: code.name.lower())
def test_the_range_of_a_close_code_tells_whether_to_come_back(code: CloseCode) -> None:
    assert 4000 <= code < 5000
    assert code.reconnect is (code < 4500)


def test_the_tree() -> None:
    assert issubclass(LocalError, MissError)
    assert not issubclass(LocalError, RemoteError)
    for kind in (Malformed, Refused, Untrusted, Undecryptable):
        assert issubclass(kind, RemoteError)
    assert issubclass(RemoteError, MissError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RemoteError("x"), Code.MALFORMED),
        (Malformed("x"), Code.MALFORMED),
        (Untrusted("x"), Code.UNTRUSTED),
        (Undecryptable(), Code.UNTRUSTED),
        (Refused(Code.BUSY), Code.BUSY),
    ],
)
def test_each_error_has_a_code_that_may_be_told(error: RemoteError, code: Code) -> None:
    assert error.code is code


def test_a_refusal_keeps_its_detail_for_the_log_and_its_wait_for_the_peer() -> None:
    refused = Refused(Code.BUSY, "the disk is slow", retry_after=2.0)
    assert (str(refused), refused.retry_after) == ("the disk is slow", 2.0)
    assert (str(Refused(Code.BUSY)), Refused(Code.BUSY).retry_after) == ("busy", None)


def test_what_cannot_be_opened_tells_one_text_for_all_causes() -> None:
    assert str(Undecryptable()) == "this envelope cannot be opened"
    assert str(Undecryptable("no session")) == "no session"
