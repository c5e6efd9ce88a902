"""Links of enrolment letters, as the vectors have them, and nothing else passes for one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_protocol.errors import Malformed
from miss_protocol.identity.enrolment_link import (
    CODE_MAX,
    LINK_MAX,
    EnrolmentLink,
    looks_like_link,
    read_link,
    write_link,
)

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors" / "enrolment_links.json"
CASES: Any = json.loads(VECTORS.read_text("utf-8"))


def link_of(case: dict[str, Any]) -> EnrolmentLink:
    return EnrolmentLink(case["server"], case["code"], case["action"])


@pytest.mark.parametrize("case", CASES["written"], ids=lambda case: case["link"])
def test_links_are_written_and_read(case: dict[str, Any]) -> None:
    assert write_link(link_of(case)) == case["link"]
    assert read_link(case["link"]) == link_of(case)
    assert looks_like_link(case["link"])


@pytest.mark.parametrize("case", CASES["read"], ids=lambda case: case["link"])
def test_links_are_read_as_clicked_or_pasted(case: dict[str, Any]) -> None:
    assert read_link(case["link"]) == EnrolmentLink(
        case["server"].lower(), case["code"], case["action"]
    )


@pytest.mark.parametrize("text", CASES["malformed"])
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(Malformed):
        read_link(text)


def test_a_link_has_a_longest() -> None:
    with pytest.raises(Malformed):
        read_link(CASES["written"][0]["link"] + "&x=" + "x" * LINK_MAX)


@pytest.mark.parametrize(
    ("server", "code"),
    [
        ("miss.example.org", "ABCD"),
        ("https://miss.example.org", "AB CD"),
        ("https://miss.example.org", "-"),
        ("https://miss.example.org", "A" * (CODE_MAX + 1)),
    ],
)
def test_what_is_no_link_is_not_written(server: str, code: str) -> None:
    with pytest.raises(Malformed):
        write_link(EnrolmentLink(server, code))


@given(st.text())
def test_any_text_is_a_link_or_malformed(text: str) -> None:
    assert looks_like_link(text) == text.strip().lower().startswith("miss:")
    with pytest.raises(Malformed):
        read_link(text)
