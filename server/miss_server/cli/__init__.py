"""`miss-server`: what an operator types. Each command's file has its noun.

Only the file of the command that was typed is loaded: what the others need takes a second to load.
"""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

from miss_server.cli.common import EXIT_USAGE, operator_name
from miss_server.cli.sources import OPERATOR
from miss_server.config import NoFileError
from miss_server.words import tr

COMMANDS = {
    "directory": "directory:app",
    "config": "configuration:app",
    "db": "db:app",
    "serve": "serve:serve:HELP",
    "enrol-code": "codes:enrol_code:HELP",
    "codes": "bulk_codes:app",
    "recovery": "recovery:app",
    "accounts": "accounts:app",
    "organisations": "organisations:app",
    "audit": "audit:app",
    "invitations": "invitations:app",
    "reports": "reports:app",
    "doctor": "doctor:doctor:HELP",
    "why": "why:why:HELP",
    "size": "size:size:HELP",
    "backup": "backups:backup:BACKUP_HELP",
    "restore": "backups:restore:RESTORE_HELP",
}
"""Each command's file in this package, the function or group there, and its help."""


def application(*names: str) -> typer.Typer:
    """The command line with these commands."""
    made = typer.Typer(
        name="miss-server",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=tr(
            "Run a MiSS server: instant messages between clinicians, end-to-end encrypted.",
            "Faire fonctionner un serveur MiSS : messagerie instantanée chiffrée entre soignants.",
        ),
    )
    made.callback()(_begin)  # it also keeps a single command its name
    for name in names:
        file, what, *help_ = COMMANDS[name].split(":")
        module = import_module(f"miss_server.cli.{file}")
        if help_:
            made.command(name, help=getattr(module, help_[0]))(getattr(module, what))
        else:
            made.add_typer(getattr(module, what), name=name)
    return made


def _begin(
    operator: Annotated[
        str | None,
        typer.Option(
            envvar=OPERATOR,
            help=tr(
                "Your name, for the audit log, where the machine knows only one user, as in a container.",
                "Votre nom, pour le journal d'audit, si la machine ne connaît qu'un seul utilisateur,"
                " comme dans un conteneur.",
            ),
        ),
    ] = None,
) -> None:
    if operator is not None:
        os.environ[OPERATOR] = operator_name(operator)


def __getattr__(name: str) -> Any:
    if name == "app":  # with every command, for whoever wants to look at it as a whole
        return application(*COMMANDS)
    raise AttributeError(name)


def main() -> None:
    """The entry point of `miss-server`."""
    typed = [word for word in sys.argv[1:2] if word in COMMANDS]
    try:
        application(*(typed or COMMANDS))()
    except NoFileError as error:
        sys.stderr.write(f"miss-server: {error}\n")
        hint = tr(
            "PostgreSQL has commands of its own for this: see server/README.md.",
            "PostgreSQL a ses propres commandes pour cela : voir server/README.md.",
        )
        sys.stderr.write(f"  {hint}\n")
        raise SystemExit(EXIT_USAGE) from None
