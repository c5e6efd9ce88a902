"""The charter in force, read once at start-up."""

from importlib.resources import files
from pathlib import Path

from miss_protocol.api import Charter
from miss_protocol.identity.charter import charter_hash
from miss_server.config import Settings


def load_charter(settings: Settings) -> Charter:
    """The operator's charter, or the one that comes with the server.

    Raises:
        OSError: a file that the settings name cannot be read.
    """
    english = _text(settings.charter_en, "charter_en.txt")
    french = _text(settings.charter_fr, "charter_fr.txt")
    return Charter(settings.charter_version, charter_hash(english + "\n" + french), english, french)


def _text(given: Path | None, built_in: str) -> str:
    if given is not None:
        return given.read_text("utf-8")
    return files("miss_server.texts").joinpath(built_in).read_text("utf-8")
