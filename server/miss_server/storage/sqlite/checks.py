"""Checks of a SQLite database: `miss-server doctor`."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from miss_server.findings import Finding, bad, ok, warn
from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.storage.sqlite import soundness
from miss_server.storage.sqlite.store import DatabaseError, check_ours
from miss_server.storage.witness import Damaged, Witness, beside
from miss_server.words import Both

CLOCK_BACK_MS = 300_000
"""A database that was written later than now: the clock went back by more than requests allow."""
QUICK_BYTES = 2 << 30
"""Up to this size a database is read through; beyond, that would take minutes."""


def is_served(database: Path) -> bool:
    """Whether a server holds the database at this moment, as far as the kernel tells.

    Trying to take the lock would keep a server from starting just then.
    """
    try:
        inode = database.with_name(database.name + ".lock").stat().st_ino
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False
    return any("FLOCK" in line and f":{inode} " in line for line in locks.splitlines())


def examine(database: Path, *, domain: str, now_ms: int) -> Sequence[Finding]:
    """Schema, soundness, witness, and the clock against what was written last."""
    if not database.exists():
        return [
            warn(
                "database",
                Both(f"there is no {database} yet", f"{database} n'existe pas encore"),
                Both(
                    "The first start makes it; else name the right one with --database.",
                    "Le premier démarrage le crée ; sinon indiquez le bon (--database).",
                ),
            )
        ]
    name = f"file:{quote(str(database))}?mode=ro"
    try:
        with closing(sqlite3.connect(name, uri=True)) as db:
            check_ours(database, db, domain)
            stored = dict(db.execute("SELECT name, value FROM settings").fetchall())
            newest = db.execute("SELECT max(seen_ms) FROM devices").fetchone()[0] or 0
            broken = ""
            if database.stat().st_size <= QUICK_BYTES:
                broken = soundness.fault(db, "quick_check")
    except (DatabaseError, sqlite3.Error) as error:
        return [bad("database", Both(str(error), str(error)), _RESTORE)]
    if broken:
        return [bad("database", Both(f"damaged: {broken}", f"endommagée : {broken}"), _RESTORE)]
    findings = [
        ok(
            "database",
            f"sound, schema {int(stored['schema'])} of {SCHEMA_VERSION}",
            f"saine, schéma {int(stored['schema'])} sur {SCHEMA_VERSION}",
        ),
        _witness(database, stored),
    ]
    newest = max(newest, int.from_bytes(stored.get("proved", b""), "big"))
    if newest > now_ms + CLOCK_BACK_MS:
        minutes = (newest - now_ms) // 60_000
        findings.append(
            bad(
                "clock",
                Both(
                    f"{minutes} minutes before the last write",
                    f"{minutes} minutes avant la dernière écriture",
                ),
                Both(
                    "Set the clock: messages would expire late and signed requests be refused.",
                    "Réglez l'horloge : les messages expireraient tard, les demandes signées"
                    " seraient refusées.",
                ),
            )
        )
    return findings


_RESTORE = Both(
    "Check --database and --domain; if they are right, put a backup back: miss-server restore.",
    "Vérifiez --database et --domain ; s'ils sont justes, remettez une sauvegarde :"
    " miss-server restore.",
)


def _witness(database: Path, stored: dict[str, bytes]) -> Finding:
    try:
        seen = Witness(beside(database), stored["pepper"]).read()
    except Damaged:
        seen = None
    if seen is None and stored.get("witnessed"):
        return warn(
            "witness",
            Both(
                f"{beside(database)} is missing or damaged",
                f"{beside(database)} manque ou est endommagé",
            ),
            Both(
                "The next start takes the database for a restored one: right after a move, else find"
                " out who removed it.",
                "Le prochain démarrage croira à une restauration : normal après un déménagement,"
                " sinon cherchez qui l'a supprimé.",
            ),
        )
    return ok("witness", "knows this database", "connaît cette base")
