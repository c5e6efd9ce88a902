"""Where settings come from besides the command line: variables, a file of them, files of secrets."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from miss_server.config import Settings

FILE, SECRETS = "MISS_SETTINGS", "MISS_SECRETS"
"""A file of `MISS_…=value` lines; a folder with one file for each secret, named as the variable in
lower case (`miss_database`), as container engines hand secrets over."""
OPERATOR = "MISS_OPERATOR"
"""Who types the command, for the audit log: in a container every user is the same."""
ELSEWHERE = frozenset(
    {"MISS_HOME", "MISS_SERVER", "MISS_PASSPHRASE", "MISS_ALLOW_HTTP", "MISS_TRACE", "MISS_FUZZ"}
)
"""Variables of the client and of the tests."""
OF_TESTS = "MISS_TEST_"
ALIKE = 0.75
"""How near a mistyped name must be for a guess: an added `_URL` is near."""


class SourceError(Exception):
    """A file or folder that settings should come from cannot be read; the text names it."""


def sources() -> dict[str, Any]:
    """What `Settings` must be told to read besides variables, which go before.

    Raises:
        SourceError: it is not there. The library would read nothing, in silence.
    """
    found: dict[str, Any] = {}
    file, folder = os.environ.get(FILE), os.environ.get(SECRETS)
    if file:
        try:
            Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SourceError(f"{FILE}={file}: {reason}") from error
        found["_env_file"] = file
    if folder:
        if not os.access(folder, os.R_OK | os.X_OK) or not Path(folder).is_dir():
            raise SourceError(f"{SECRETS}={folder}: not a folder that can be read")
        found["_secrets_dir"] = folder
    return found


def unknown() -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings and are none, each with the one that may be meant."""
    known = {f"MISS_{name.upper()}" for name in Settings.model_fields} | {FILE, SECRETS, OPERATOR}
    for name in sorted(os.environ.keys() - known - ELSEWHERE):
        if name.startswith("MISS_") and not name.startswith(OF_TESTS):
            yield name, next(iter(get_close_matches(name, known, 1, ALIKE)), None)
