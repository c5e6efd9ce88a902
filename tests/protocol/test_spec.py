"""The specification says what the code does, where both can be compared, and hangs together."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code
from miss_protocol.states import (
    ANYWHERE,
    SERVER_RECEIVES,
    SERVER_SENDS,
    ServerState,
)

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "protocol" / "spec"
PAGES = {path.name.split("-")[0]: path for path in SPEC.glob("[01]*.md")}
SOURCES = [
    path
    for folder in ("protocol", "server", "clients")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md") and "node_modules" not in path.parts
]
WIRE = PAGES["02"].read_text("utf-8")


def sections(number: str) -> set[str]:
    """The numbers of a page's headings, as `3` or `3.1`."""
    text = PAGES[number].read_text("utf-8")
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def citations() -> Iterator[tuple[str, str, str]]:
    """(where, page, section) of everything like `spec 03-session §4, §5` or `(02 §1)`."""
    for path in SOURCES:
        text = path.read_text("utf-8")
        for page, cited in re.findall(
            r"\b(0[1-9]|1\d)(?:-[a-z-]+(?:\.md)?)?\s+((?:§\d+(?:\.\d+)?(?:, |-| and )?)+)", text
        ):
            for section in re.findall(r"§(\d+(?:\.\d+)?)", cited):
                yield str(path.relative_to(ROOT)), page, section


def test_every_page_is_in_the_index_and_the_index_has_no_other() -> None:
    index = (SPEC / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([01]\d-[a-z-]+\.md)\)", index))
    assert linked == {path.name for path in PAGES.values()}
    assert {"01", "02", "03", "04", "05", "06", "07"} <= set(PAGES)


def test_every_section_that_is_cited_exists() -> None:
    cited = list(citations())
    assert len(cited) > 60
    missing = [one for one in cited if one[2] not in sections(one[1])]
    assert missing == []


def test_every_rule_that_code_names_is_in_the_index() -> None:
    index = (SPEC / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| ([A-F]\d) \|", index, re.MULTILINE))
    named = {
        rule
        for path in SOURCES
        if path.suffix == ".py"
        for group in re.findall(r"rules? ((?:[A-F]\d(?:, | and )?)+)", path.read_text("utf-8"))
        for rule in re.findall(r"[A-F]\d", group)
    }
    assert named
    assert named <= listed


def test_the_tables_of_limits_are_the_limits() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", WIRE, re.MULTILINE))
    assert rows == {name: f"{value:.0f}" for name, value in vars(limits).items() if name.isupper()}


FRAMES = list(dict.fromkeys((*f.ClientFrame.__args__, *f.ServerFrame.__args__)))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.__name__)
def test_the_page_has_every_field_of_every_frame(frame: type[f.Frame]) -> None:
    """Required ones without, the others with a question mark; and no other field."""
    op = frame.__struct_config__.tag
    _, _, after = WIRE.partition(f"**`{op}`**")
    assert after, op
    part = re.split(r"\n\n\*\*`|\n#", after)[0]
    written = re.findall(r"^\| `([a-z_]+\??)` \|", part, re.MULTILINE)
    if not written:  # one field, told in the sentence
        written = re.findall(r"`([a-z_]+)` \*[a-z]+\*", part)[:1]
    fields = msgspec.structs.fields(frame)
    assert written == [one.encode_name + ("" if one.required else "?") for one in fields]


def test_the_table_of_states_is_the_tables() -> None:
    session = PAGES["03"].read_text("utf-8")
    for state in ServerState:
        if state is ServerState.CLOSED:
            continue
        (reads, writes) = re.findall(
            rf"^\| {state.name} \| (.*?) ?\| (.*?) ?\|$", session, re.MULTILINE
        )[0]
        for text, table in ((reads, SERVER_RECEIVES), (writes, SERVER_SENDS)):
            assert set(re.findall(r"`(\w+)`", text)) == {
                frame.__struct_config__.tag for frame in table[state]
            }
    assert {frame.__struct_config__.tag for frame in ANYWHERE} == {"ping", "pong", "error", "bye"}


@pytest.mark.parametrize("number", ["02", "03"])
def test_refusals_that_a_page_names_are_codes(number: str) -> None:
    text = PAGES[number].read_text("utf-8")
    wires = {code.wire for code in Code}
    named = set(re.findall(r"(?:refused with|`error`|`refused`|`retry`) `([a-z_]+)`", text))
    named -= {frame.__struct_config__.tag for frame in FRAMES}
    assert named
    assert named <= wires


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
