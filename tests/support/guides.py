"""The blocks of a guide, as they can be pasted."""

import re
import textwrap
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server"


def blocks(guide: Path, heading: str = "") -> list[str]:
    """What can be pasted under a heading; without one, what stands before the first."""
    before, _, after = guide.read_text().partition(f"\n## {heading}\n" if heading else "\n## ")
    section = after.partition("\n## ")[0] if heading else before
    assert section, heading
    found = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def as_pasted(surroundings: str, block: str) -> list[str]:
    """The command that has a terminal's shell go through a block: it goes on after a line that fails,
    and tells of it at the end, by its status."""
    told = "trap 'failed=$BASH_COMMAND' ERR"
    done = '[ $? = 0 ] && [ -z "${failed=}" ] || { echo "failed: $failed"; exit 1; }'
    return ["bash", "-c", f"{surroundings}\n{told}\n{block}\n{done}"]
