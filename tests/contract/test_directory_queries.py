"""What every engine promises of the directory: no query does harm."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miss_protocol.errors import Malformed, Refused
from tests.support.register import activity
from tests.support.searching import CARDIOLOGIST, Bench


@pytest.mark.parametrize("query", ["", " ", "x", "é", "?!", "'\"*()", "-" * 200])
def test_a_query_that_says_nothing_finds_nobody(bench: Bench, query: str) -> None:
    bench.load(CARDIOLOGIST)
    assert bench.names(query) == []


@pytest.mark.parametrize(
    "query",
    [
        '"lille" OR "douai"',
        "lille OR douai",
        "lille NOT lef",
        "NEAR(lille nord)",
        "words:lille",
        "lille*",
        "^lille",
        "lille + nord",
        "lille'; DROP TABLE accounts; --",
        "{lille}",
        "lille AND",
        "%",
        "_",
    ],
)
def test_no_operator_reaches_the_engine(bench: Bench, query: str) -> None:
    bench.load(activity(1, name="LILLE", city="Lille"), CARDIOLOGIST)
    words = {"or", "not", "near", "words", "drop", "and"}
    typed = "".join(c if c.isalnum() else " " for c in query.lower()).split()
    expected = bool(typed) and not words & set(typed)
    page = bench.page(query)
    # A short word that nobody has may be left out, and then the answer says so: `not` means nothing.
    assert (bool(page.entries) and not page.repaired) is expected


@pytest.mark.parametrize(("query", "error"), [("a\x00b", Malformed), ("x" * 10_240, Refused)])
def test_bad_queries_are_refused(bench: Bench, query: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        bench.page(query)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "é",
        "!!!!",
        "A",
        "AAAA",
        "WzFd",
        "eyJhIjoxfQ",
        "A" * 300,
        "WzAsLTEsMCwiIl0",  # [0,-1,0,""]
        "WzAsOTksMCwiIl0",  # [0,99,0,""]
        "WzAsMCwtMSwiIl0",  # [0,0,-1,""]
        "WzAsMCw5MjIzMzcyMDM2ODU0Nzc1ODA4LCIiXQ",  # [0,0,2**63,""]
        "WzAsMCwwLCIiLC0xXQ",  # [0,0,0,"",-1]
        "WzAsMCwwLCIiLDAsMV0",  # [0,0,0,"",0,1]
    ],
)
def test_a_cursor_that_is_none_is_malformed(bench: Bench, cursor: str) -> None:
    with pytest.raises(Malformed):
        bench.page("lille", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nobody_is_malformed(bench: Bench, limit: int) -> None:
    with pytest.raises(Malformed):
        bench.page("lille", limit=limit)


@settings(deadline=None)
@given(st.text(), st.none() | st.text())
def test_any_query_is_answered_or_refused(shared: Bench, query: str, cursor: str | None) -> None:
    try:
        shared.page(query, cursor=cursor)
    except (Malformed, Refused):
        return
