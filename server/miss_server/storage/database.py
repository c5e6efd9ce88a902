"""What is wrong with a database as a whole."""

from miss_server.refusals import Refusal
from miss_server.words import Both


class DatabaseError(Refusal):
    """The database cannot be used."""


class WitnessError(DatabaseError):
    """What is beside the database cannot be read or written: nothing could be kept exactly."""


MOVED = "moved"
"""The setting of a SQLite file that was copied into PostgreSQL: where to. Nobody may use it."""

ANOTHER = Both(
    "Name another one in MISS_DATABASE (--database).",
    "Indiquez-en une autre dans MISS_DATABASE (--database).",
)
ANOTHER_FILE = Both(
    "Choose another file with --database or MISS_DATABASE.",
    "Choisissez un autre fichier (--database ou MISS_DATABASE).",
)
WRITABLE = Both(
    "Let the server's user write into that folder. Or: " + ANOTHER_FILE.en,
    "Permettez à l'utilisateur du serveur d'écrire dans ce dossier. Ou : " + ANOTHER_FILE.fr,
)
OWN_FOLDER = Both(
    "Let the server's user write there, or name another folder in MISS_NODE_FOLDER.",
    "Permettez à l'utilisateur du serveur d'y écrire, ou indiquez un autre dossier dans"
    " MISS_NODE_FOLDER.",
)
DOCTOR = Both("See miss-server doctor.", "Voir miss-server doctor.")
RIGHT_DOMAIN = Both(
    "Correct MISS_DOMAIN or MISS_DATABASE (--domain, --database).",
    "Corrigez MISS_DOMAIN ou MISS_DATABASE (--domain, --database).",
)
