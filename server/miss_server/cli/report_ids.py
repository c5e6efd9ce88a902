"""How the commands of reports name one."""

from typing import Annotated

import typer

from miss_server.cli.common import EXIT_USAGE, fail
from miss_server.stores import Store
from miss_server.words import tr

EXIT_BROKEN = 4
"""What is shown is not what was signed."""

ReportArgument = Annotated[
    str,
    typer.Argument(
        metavar="REPORT",
        help=tr(
            "The beginning of its number, as `list` shows it.",
            "Le début de son numéro, comme `list` le montre.",
        ),
    ),
]


async def id_of(store: Store, typed: str) -> str:
    """The one report whose number begins so; ends the command if there is none, or several."""
    beginning = typed.strip().lower()
    if not beginning or not set(beginning) <= set("0123456789abcdef"):
        fail(
            tr(f"{typed} is no number of a report", f"{typed} n'est pas un numéro de signalement"),
            status=EXIT_USAGE,
        )
    found = await store.report_ids(beginning)
    if not found:
        fail(
            tr("there is no such report", "il n'y a pas de tel signalement"),
            hint=tr(
                "Closed ones are deleted after some time. See miss-server reports list.",
                "Ceux qui sont clos sont effacés après un temps. Voir miss-server reports list.",
            ),
        )
    if len(found) > 1:
        fail(
            tr("several reports begin so: type more", "plusieurs commencent ainsi : précisez"),
            status=EXIT_USAGE,
        )
    return found[0]
