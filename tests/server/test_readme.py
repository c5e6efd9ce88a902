"""What the operator's guide names exists: commands, their options, settings, files."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from miss_server.cli import app
from miss_server.cli.sources import FILE, OPERATOR, SECRETS
from miss_server.config import Settings

ROOT = Path(__file__).parents[2]
GUIDES = {name: (ROOT / "server" / name).read_text() for name in ("README.md", "POSTGRES.md")}
GUIDE = "\n".join(GUIDES.values())
DEPLOYED = [
    path for path in (ROOT / "deploy").rglob("*") if path.is_file() and "secrets/" not in str(path)
]
TEXTS = GUIDES | {path.name: path.read_text() for path in DEPLOYED}
OF_THE_PROXY = {"MISS_LISTEN", "MISS_CERTIFICATE", "MISS_NODE_1", "MISS_NODE_2"}


def known_settings() -> set[str]:
    return {f"MISS_{name.upper()}" for name in Settings.model_fields} | {FILE, SECRETS, OPERATOR}


def commands() -> list[list[str]]:
    """Every `miss-server ...` of the guide, as words."""
    text = GUIDE.replace("\\\n", " ")
    lines = re.findall(
        r"(?:(?<!/)\bmiss-server|^ {4}.*\bms) ([a-z][a-z-]*[^`|)\n]*)", text, re.MULTILINE
    )
    return [line.split() for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_exists_with_its_options(words: list[str]) -> None:
    command = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("--"):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    options = {name for option in command.params for name in option.opts}
    for word in words:
        if word.startswith("--"):
            assert word.rstrip(",.:;)") in options, word


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_exists(name: str) -> None:
    named = set(re.findall(r"\bMISS_[A-Z0-9_]*[A-Z0-9]\b", TEXTS[name]))
    # Secrets are files, named as the variables in lower case.
    if name == "compose.yaml":
        named |= {word.upper() for word in re.findall(r"\bmiss_[a-z_]+(?=[,\]:])", TEXTS[name])}
    assert named - known_settings() - OF_THE_PROXY == set()


def test_a_file_exists() -> None:
    for name in re.findall(r"`(deploy/[^`* ]*)`", GUIDE):
        made = name.startswith("deploy/secrets/") or name == "deploy/.env"
        assert made or (ROOT / name).exists(), name
