"""`miss demo`: the whole story on this machine, checked."""

import sys

import typer

from miss_client.cli.running import run_to_the_end
from miss_client.demo import play
from miss_client.demo.narrator import Narrator, StoryBroken
from miss_client.errors import explain
from miss_client.words import LANGUAGE, tr
from miss_protocol.errors import MissError

HELP = tr(
    "Play the whole story on this machine: four clinicians, a real server, nothing lost.\n\n"
    "It needs the server installed beside the client and ends with 0 only if all was checked.\n\n"
    "Example: miss demo",
    "Jouer toute l'histoire sur cette machine : quatre soignants, un vrai serveur, rien de perdu.\n\n"
    "Le serveur doit être installé avec le client ; le code de sortie 0 dit que tout est vérifié.\n\n"
    "Exemple : miss demo",
)


def demo() -> None:
    """Play the story."""
    try:
        run_to_the_end(play(Narrator()))
    except StoryBroken as broken:
        sys.stderr.write(f"miss demo: {broken}\n")
        raise typer.Exit(1) from None
    except TimeoutError:
        sys.stderr.write(tr("miss demo: something took too long\n", "miss demo : délai dépassé\n"))
        raise typer.Exit(1) from None
    except MissError as error:
        sys.stderr.write(f"miss demo: {explain(error, LANGUAGE)}\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
