"""`miss-server`: what an operator types. Each command's file has its noun."""

import sys

import typer

from miss_server.cli import (
    accounts,
    backups,
    codes,
    configuration,
    db,
    directory,
    doctor,
    serve,
    size,
    why,
)
from miss_server.cli.common import EXIT_USAGE
from miss_server.config import NoFileError
from miss_server.words import tr

app = typer.Typer(
    name="miss-server",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=tr(
        "Run a MiSS server: instant messages between clinicians, end-to-end encrypted.",
        "Faire fonctionner un serveur MiSS : messagerie instantanée chiffrée entre soignants.",
    ),
)
app.add_typer(directory.app, name="directory")
app.add_typer(configuration.app, name="config")
app.add_typer(db.app, name="db")
app.command("serve", help=serve.HELP)(serve.serve)
app.command("enrol-code", help=codes.HELP)(codes.enrol_code)
app.command("accounts", help=accounts.HELP)(accounts.accounts)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.command("why", help=why.HELP)(why.why)
app.command("size", help=size.HELP)(size.size)
app.command("backup", help=backups.BACKUP_HELP)(backups.backup)
app.command("restore", help=backups.RESTORE_HELP)(backups.restore)


def main() -> None:
    """The entry point of `miss-server`."""
    try:
        app()
    except NoFileError as error:
        sys.stderr.write(f"miss-server: {error}\n")
        hint = tr(
            "PostgreSQL has commands of its own for this: see server/README.md.",
            "PostgreSQL a ses propres commandes pour cela : voir server/README.md.",
        )
        sys.stderr.write(f"  {hint}\n")
        raise SystemExit(EXIT_USAGE) from None
