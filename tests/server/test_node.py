"""A node's name: made once, kept in its folder, refused when it is none."""

import re
from pathlib import Path

import pytest

from miss_server.node import NAME, NodeError, name_in


def test_a_name_is_made_once_and_is_another_in_another_folder(tmp_path: Path) -> None:
    name = name_in(tmp_path)
    assert re.fullmatch(NAME, name)
    assert name_in(tmp_path) == name
    other = tmp_path / "other"
    other.mkdir()
    assert name_in(other) != name


@pytest.mark.parametrize(
    "host", ["Room 1 – König.example.org", "-", "", "x" * 200, "a.b.c", "UPPER_case"]
)
def test_any_host_makes_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert re.fullmatch(NAME, name_in(tmp_path))


@pytest.mark.parametrize("text", ["", "../up", "two words", "x" * 64, "-x"])
def test_what_is_no_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "name").write_text(text)
    with pytest.raises(NodeError, match="MISS_NODE"):
        name_in(tmp_path)
