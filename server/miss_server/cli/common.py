"""What the commands share: options, settings, an open database, failures told in one line."""

import os
import pwd
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from miss_protocol.errors import Malformed
from miss_protocol.ids import AccountAddress, parse_address
from miss_protocol.languages import Language
from miss_server.cli.sources import OPERATOR, SourceError, sources, unknown
from miss_server.config import LostDatabaseError, Settings
from miss_server.storage.audit import operator
from miss_server.words import clinicians_language, tr

T = TypeVar("T")

EXIT_USAGE = 2
EXIT_REFUSED = 1
OPERATOR_MAX = 64

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        help=tr(
            "The SQLite file, or postgresql://user@host/database (MISS_DATABASE).",
            "Le fichier SQLite, ou postgresql://utilisateur@hôte/base (MISS_DATABASE).",
        ),
        show_default="miss.sqlite",
    ),
]
DomainOption = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help=tr(
            "The domain in account addresses (MISS_DOMAIN); it can never change later.",
            "Le domaine des adresses (MISS_DOMAIN) ; il ne pourra plus changer.",
        ),
        show_default="localhost",
    ),
]
LanguageOption = Annotated[
    Language | None,
    typer.Option(
        help=tr("The letters' language (MISS_LANGUAGE).", "La langue des lettres (MISS_LANGUAGE)."),
        show_default=tr("that of LANG, else fr", "celle de LANG, sinon fr"),
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help=tr("One JSON object a line.", "Un objet JSON par ligne."))
]


def fail(text: str, *, hint: str = "", status: int = EXIT_REFUSED) -> NoReturn:
    """Say what went wrong and what to do next, and end."""
    sys.stderr.write(f"miss-server: {text}\n")
    if hint:
        sys.stderr.write(f"  {hint}\n")
    raise typer.Exit(status)


def address_of(text: str) -> AccountAddress:
    """The address that an operator typed; else the command ends."""
    try:
        return parse_address(text.strip())
    except Malformed:
        fail(tr(f"{text} is no address", f"{text} n'est pas une adresse"), status=EXIT_USAGE)


def printable(text: str) -> str:
    """Text of others for the operator's terminal: without what could move its cursor or hide its words."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c
        for c in text
    )


def letters_language(chosen: Settings, given: Language | None) -> Language:
    """The language of what clinicians get, which the option gave before everything else."""
    return given or clinicians_language(chosen.language, os.environ)


def must_exist(database: Path, *, by_option: bool = True) -> None:
    """End unless the file is there: a new, empty one would only hide the slip of whoever mistyped the
    path. `by_option`: it was not an argument of the command, so another may be named."""
    if database.exists():
        return
    hint = tr(
        "Name the server's file with --database, or import a directory first.",
        "Indiquez le fichier du serveur (--database) ou importez d'abord un annuaire.",
    )
    fail(tr(f"there is no {database}", f"{database} n'existe pas"), hint=hint if by_option else "")


def settings(**given: Any) -> Settings:
    """The settings, with what the command line gave before everything else."""
    named = {name: value for name, value in given.items() if value is not None}
    try:
        chosen = Settings(**named, **sources())
        if "database" not in named:  # a copy may be looked at on a node's machine
            chosen.must_not_be_lost()
        return chosen
    except LostDatabaseError as error:
        fail(str(error), hint=str(error.do), status=EXIT_USAGE)
    except SourceError as error:
        fail(
            tr(f"settings: {error}", f"réglages : {error}"),
            hint=str(error.do or ""),
            status=EXIT_USAGE,
        )
    except (ValidationError, SettingsError) as error:
        lines = [str(error)]
        if isinstance(error, ValidationError):
            lines = [
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
                for item in error.errors()
            ]
        fail(
            tr("a setting is wrong: ", "un réglage est incorrect : ") + "; ".join(lines),
            hint=tr(
                "See `miss-server config check --help`.", "Voir `miss-server config check --help`."
            ),
            status=EXIT_USAGE,
        )


def refuse_unknown_settings() -> None:
    """End if a variable is no setting: it would be ignored, and a default taken in silence."""
    for name, meant in unknown():
        fail(
            tr(f"{name} is no setting", f"{name} n'est pas un réglage")
            + (tr(f"; {meant} is", f" ; {meant} en est un") if meant else ""),
            hint=tr(
                "Correct or unset it; `miss-server config check` shows all there are.",
                "Corrigez ou supprimez-la ; `miss-server config check` les montre tous.",
            ),
            status=EXIT_USAGE,
        )


def operating_user() -> str:
    """The actor that the audit log shall name: the user of this process, and who became it by sudo or
    says to be it.

    Whoever is root there can claim another's name, and who named themselves did.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        name = f"uid-{os.getuid()}"
    if came_from := os.environ.get("SUDO_USER"):
        name += f" (sudo {came_from})"
    if named := os.environ.get(OPERATOR):
        name += f" (named {operator_name(named)})"
    return operator(name)


def operator_name(text: str) -> str:
    """A name that whoever acts may give; ends the command if it is none."""
    plain = " ".join(text.split())
    if not plain or len(plain) > OPERATOR_MAX or not plain.isprintable() or set(plain) & set("()"):
        fail(
            tr(
                f"{OPERATOR} is a name of 1 to {OPERATOR_MAX} characters, without parentheses",
                f"{OPERATOR} est un nom de 1 à {OPERATOR_MAX} caractères, sans parenthèses",
            ),
            status=EXIT_USAGE,
        )
    return plain


class Bar(Protocol):
    """Shows how far something is, 0 to 1, and what is done now if that changed."""

    def __call__(self, share: float, text: str | None = None) -> None:
        """Show it."""
        ...


@contextmanager
def bar(text: str) -> Iterator[Bar]:
    """A progress bar on a terminal, nothing elsewhere (a cron job's mail is no terminal)."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as shown:
        task = shown.add_task(text, total=1.0)
        yield lambda share, text=None: shown.update(task, completed=share, description=text)
