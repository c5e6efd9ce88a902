"""Where settings come from besides the command line: variables, a file of them, files of secrets."""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from miss_server.config import Settings
from miss_server.words import Both

FILE, SECRETS = "MISS_SETTINGS", "MISS_SECRETS"
"""A file of `MISS_…=value` lines; a folder with one file for each secret, named as the variable in
lower case (`miss_database`), as container engines hand secrets over."""
_A_SECRET = re.compile(r"miss_\w+", re.IGNORECASE)
"""Names in that folder that must be settings. Others lie there, too: `miss.conf`, its copies, what an
editor leaves (`miss_redis~`), files that a setting names (`miss_charter.txt`)."""
OPERATOR = "MISS_OPERATOR"
"""Who types the command, for the audit log: in a container every user is the same."""
ELSEWHERE = frozenset(
    {"MISS_HOME", "MISS_SERVER", "MISS_PASSPHRASE", "MISS_ALLOW_HTTP", "MISS_TRACE", "MISS_FUZZ"}
)
"""Variables of the client and of the tests."""
OF_TESTS = "MISS_TEST_"
_RENAME = Both(
    "Correct its name, or move it out of the folder MISS_SECRETS.",
    "Corrigez son nom, ou retirez-le du dossier MISS_SECRETS.",
)
_READABLE = Both(
    "Let the server's user read it: a text file of one setting's value.",
    "Donnez à l'utilisateur du serveur le droit de le lire : un fichier texte, la valeur du réglage.",
)
_INSIDE = Both(
    "Put the file itself there, or name the folder where it is.",
    "Mettez-y le fichier même, ou indiquez le dossier où il est.",
)
ALIKE = 0.75
"""How near a mistyped name must be for a guess: an added `_URL` is near."""


class SourceError(Exception):
    """What settings should come from cannot be read, or is none of them; the text names it."""

    def __init__(self, text: str | Both, do: Both | None = None) -> None:
        super().__init__(str(text))
        self.do = do


def sources() -> dict[str, Any]:
    """What `Settings` must be told to read besides variables, which go before.

    Raises:
        SourceError: it cannot be used as it is. The library would read nothing, in silence.
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
        for each in sorted(Path(folder).iterdir()):
            if _A_SECRET.fullmatch(each.name):
                _must_be_a_secret(each)
        found["_secrets_dir"] = folder
    return found


def _must_be_a_secret(file: Path) -> None:
    """See that a file of the secrets' folder is a setting that the library will read.

    Raises:
        SourceError: it is not.
    """
    known = {f"miss_{name}" for name in Settings.model_fields}
    if file.name.lower() not in known:
        meant = next(iter(get_close_matches(file.name.lower(), known, 1, ALIKE)), None)
        text = Both(f"{file} is no setting", f"{file} n'est pas un réglage")
        if meant:
            text = Both(f"{text.en}; {meant} is", f"{text.fr} ; {meant} en est un")
        raise SourceError(text, _RENAME)
    try:
        file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SourceError(Both(f"{file}: {reason}", f"{file} : {reason}"), _READABLE) from error
    if file.parent.resolve() not in file.resolve().parents:
        text = Both(
            f"{file} is a link out of its folder", f"{file} est un lien hors de son dossier"
        )
        raise SourceError(text, _INSIDE)


def unknown() -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings and are none, each with the one that may be meant."""
    known = {f"MISS_{name.upper()}" for name in Settings.model_fields} | {FILE, SECRETS, OPERATOR}
    for name in sorted(os.environ.keys() - known - ELSEWHERE):
        if name.startswith("MISS_") and not name.startswith(OF_TESTS):
            yield name, next(iter(get_close_matches(name, known, 1, ALIKE)), None)
