"""`miss sandbox`: something to play against."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from miss_client.cli.running import run_to_the_end
from miss_client.demo.narrator import StoryBroken
from miss_client.sandbox import HELP as WORDS
from miss_client.sandbox import open_sandbox
from miss_client.words import tr

HELP = tr(
    "Start a server to play against: fictive directory, codes, an echo colleague, bad lines.\n\n"
    "Nothing in it is real and it forgets everything at the end. Type `help` while it runs.\n\n"
    "Example: miss sandbox --codes 10",
    "Démarrer un serveur d'exercice : annuaire fictif, codes, un confrère écho, pannes de réseau.\n\n"
    "Rien n'y est réel et tout est oublié à la fin. Tapez `help` pendant qu'il tourne.\n\n"
    "Exemple : miss sandbox --codes 10",
)


def sandbox(
    codes: Annotated[
        int, typer.Option(min=0, max=500, help=tr("Codes to begin with.", "Codes au départ."))
    ] = 3,
    people: Annotated[
        int,
        typer.Option(
            min=10, max=200_000, help=tr("Size of the directory.", "Taille de l'annuaire.")
        ),
    ] = 2000,
    host: Annotated[
        str, typer.Option(help=tr("The address to listen on.", "L'adresse d'écoute."))
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help=tr("The port; 0: any.", "Le port ; 0 : libre."))
    ] = 0,
) -> None:
    """Start a sandbox."""
    try:
        run_to_the_end(_run(codes, people, host, port))
    except StoryBroken as broken:
        sys.stderr.write(f"miss sandbox: {broken}\n")
        raise typer.Exit(1) from None
    except OSError as error:
        sys.stderr.write(f"miss sandbox: {error}\n")
        sys.stderr.write(
            tr("  Choose another --host or --port.\n", "  Choisissez un autre --host ou --port.\n")
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _run(codes: int, people: int, host: str, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="miss-sandbox-") as folder:
        async with open_sandbox(
            Path(folder), say=typer.echo, people=people, host=host, port=port
        ) as box:
            typer.echo(tr(f"The server is at {box.url}", f"Le serveur est sur {box.url}"))
            typer.echo(
                tr(
                    f"{box.echo.client.name} answers everything ({box.echo.account})",
                    f"{box.echo.client.name} répond à tout ({box.echo.account})",
                )
            )
            if host not in ("127.0.0.1", "::1", "localhost"):
                typer.echo(tr("Elsewhere, set MISS_ALLOW_HTTP=1.", "Ailleurs : MISS_ALLOW_HTTP=1."))
            for person, code in await box.codes(codes):
                typer.echo(f"{person}  {code}    miss enrol {code} --server {box.url}")
            typer.echo(WORDS)
            while typed := await asyncio.to_thread(sys.stdin.readline):
                if not await box.obey(typed):
                    return
            # Nobody types here (it runs in the background): go on until a signal comes.
            await asyncio.Event().wait()
