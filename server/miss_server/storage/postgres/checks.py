"""Checks of a PostgreSQL database: `miss-server doctor`.

They connect as plainly as possible: what a node would refuse is to be found out and told here.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg

from miss_server.findings import Finding, bad, ok, warn
from miss_server.storage.postgres import archive, room
from miss_server.storage.postgres.pool import OLDEST
from miss_server.storage.postgres.room import Limit
from miss_server.storage.schema import SCHEMA_VERSION
from miss_server.words import Both

CONNECT_SECONDS = 5.0
COMMITS, COMMIT_SECONDS = 30, 10.0
COMMIT_SLOW_MS = 25.0
"""Every `sent` waits for one: beyond, people feel it."""
_COMMIT = "SELECT pg_logical_emit_message(true, 'miss-server doctor', $1::bytea)"
"""A durable commit that leaves nothing behind but a record in the log, which nobody reads."""
_COMMIT_DO = Both(
    "Every message waits for it: look at the disk of PostgreSQL's log (pg_wal), at the way there, and"
    " at the synchronous standby if there is one.",
    "Chaque message l'attend : voyez le disque du journal de PostgreSQL (pg_wal), le chemin jusqu'à"
    " lui, et le secours synchrone s'il y en a un.",
)
CLOCK_WARN_MS, CLOCK_BAD_MS = 2_000, 60_000
"""Two nodes whose clocks differ from the database's expire messages at different moments."""

_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
_WANTED = [
    "archive_mode", "fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names",
]  # fmt: skip
_STATE = (
    "SELECT pg_is_in_recovery() AS standby,"  # noqa: S608  # no value of anybody's
    " (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,"
    " (SELECT count(*) FROM pg_stat_replication) AS standbys,"
    " (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS following,"
    " (SELECT coalesce(array_agg(slot_name::text ORDER BY slot_name), '{}') FROM pg_replication_slots"
    "  WHERE slot_type = 'physical' AND NOT temporary) AS slots,"
    " pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees,"
    f" {archive.FAILS} AS archive_fails"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a PostgreSQL server tells of itself. `stored` are our own settings; None: no tables."""

    version: int
    settings: dict[str, str]
    standby: bool
    ahead_ms: int
    """How far its clock is ahead of this machine's."""
    limits: Sequence[Limit]
    """Of connections."""
    standbys: int
    following: int
    """Standbys that a commit waits for."""
    slots: tuple[str, ...]
    """What the log is kept for: standbys, those that are away included."""
    sees: bool
    """Whether our role is shown what standbys do; else `following` is 0."""
    archive_fails: bool
    stored: dict[str, bytes] | None


async def examine(dsn: str, *, domain: str, connections: int, now_ms: int) -> Sequence[Finding]:
    """Look at the database behind an address. `connections`: what one server may open."""
    try:
        facts = await ask(dsn, now_ms=now_ms)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        why = str(error) or type(error).__name__
        return [
            bad(
                "database",
                Both(f"PostgreSQL cannot be asked: {why}", f"PostgreSQL ne répond pas : {why}"),
                Both(
                    "Check MISS_DATABASE, MISS_DATABASE_PASSWORD and pg_hba.conf.",
                    "Vérifiez MISS_DATABASE, MISS_DATABASE_PASSWORD et pg_hba.conf.",
                ),
            )
        ]
    return list(judge(facts, domain=domain, connections=connections))


async def ask(dsn: str, *, now_ms: int) -> Facts:
    """Everything that is judged. Raises what the driver raises."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = {
                row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS, _WANTED)
            }
            state: Any = await connection.fetchrow(_STATE)
            there = await connection.fetchval("SELECT to_regclass('settings') IS NOT NULL")
            stored = None
            if there:
                rows = await connection.fetch("SELECT name, value FROM settings")
                stored = {row["name"]: bytes(row["value"]) for row in rows}
            return Facts(
                version=connection.get_server_version().major,
                settings=found,
                standby=state["standby"],
                ahead_ms=state["now_ms"] - now_ms,
                limits=await room.limits(connection),
                standbys=state["standbys"],
                following=state["following"],
                slots=tuple(state["slots"]),
                sees=state["sees"],
                archive_fails=state["archive_fails"],
                stored=stored,
            )
    finally:
        connection.terminate()


async def commits(dsn: str, *, seconds: float = COMMIT_SECONDS) -> Sequence[Finding]:
    """How long this database takes to keep something, with the way there and its standby's word.

    Args:
        seconds: after which it is given up.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return []  # `examine` says so
    try:
        async with asyncio.timeout(seconds):
            took = await _commit_ms(connection)
    except TimeoutError:
        text = Both(f"nothing is kept within {seconds} s", f"rien n'est gardé en {seconds} s")
        return [bad("commit", text, _COMMIT_DO)]
    except asyncpg.PostgresError as error:
        text = Both(f"could not be tried: {error}", f"n'a pas pu être essayé : {error}")
        return [warn("commit", text, _COMMIT_DO)]
    finally:
        connection.terminate()
    return [judge_commit(took)]


async def _commit_ms(connection: "asyncpg.Connection[Any]") -> float:
    took: list[float] = []
    for _ in range(COMMITS):
        content = os.urandom(4096)
        begun = time.perf_counter()
        await connection.execute(_COMMIT, content)
        took.append((time.perf_counter() - begun) * 1000)
    return median(took)


def judge_commit(took: float) -> Finding:
    """What is to be said of a database that takes so many milliseconds to keep something."""
    text = Both(
        f"{took:.2f} ms to keep 4 KiB (median of {COMMITS})",
        f"{took:.2f} ms pour garder 4 Kio (médiane de {COMMITS})",
    )
    if took > COMMIT_SLOW_MS:
        return warn("commit", text, _COMMIT_DO)
    return ok("commit", *text)


def judge(facts: Facts, *, domain: str, connections: int) -> Iterator[Finding]:
    """What is to be said of the facts."""
    yield _version(facts)
    yield _tables(facts, domain)
    yield from _durable(facts)
    yield _standbys(facts)
    yield _archive(facts)
    yield _room(facts, connections)
    yield _clock(facts)


def _version(facts: Facts) -> Finding:
    text = Both(f"PostgreSQL {facts.version}", f"PostgreSQL {facts.version}")
    if facts.version < OLDEST:
        do = Both(f"{OLDEST} or newer is needed.", f"Il faut {OLDEST} ou plus récent.")
        return bad("database", text, do)
    if facts.standby:
        return bad(
            "database",
            Both("this is a standby", "c'est un serveur de secours"),
            Both("Name the primary in MISS_DATABASE.", "Indiquez le primaire dans MISS_DATABASE."),
        )
    return ok("database", *text)


def _tables(facts: Facts, domain: str) -> Finding:
    if facts.stored is None or "schema" not in facts.stored:
        return warn(
            "schema",
            Both("our tables are not there yet", "nos tables n'y sont pas encore"),
            Both("The first start makes them.", "Le premier démarrage les crée."),
        )
    schema, owner = int(facts.stored["schema"]), facts.stored["domain"].decode()
    text = Both(f"schema {schema} of {SCHEMA_VERSION}", f"schéma {schema} sur {SCHEMA_VERSION}")
    if owner != domain:
        return bad(
            "schema",
            Both(f"belongs to the domain {owner}", f"appartient au domaine {owner}"),
            Both("Check MISS_DOMAIN and MISS_DATABASE.", "Vérifiez MISS_DOMAIN et MISS_DATABASE."),
        )
    if schema > SCHEMA_VERSION:
        do = Both("Upgrade miss-server.", "Mettez miss-server à jour.")
        return bad("schema", text, do)
    if schema < SCHEMA_VERSION:
        do = Both("Run miss-server db upgrade.", "Lancez miss-server db upgrade.")
        return warn("schema", text, do)
    return ok("schema", *text)


_SAFE: dict[str, tuple[str, ...]] = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
}


def _durable(facts: Facts) -> Iterator[Finding]:
    for name, good in _SAFE.items():
        value = facts.settings.get(name, "?")
        text = Both(f"{name} is {value}", f"{name} vaut {value}")
        if value in good:
            yield ok("durability", *text)
        else:
            yield bad(
                "durability",
                text,
                Both(
                    f"Set {name} = on: else a power cut loses what was called sent.",
                    f"Mettez {name} = on : sinon une coupure perd ce qui était dit envoyé.",
                ),
            )


def _standbys(facts: Facts) -> Finding:
    named = facts.settings.get("synchronous_standby_names", "")
    text = Both(
        f"{facts.standbys} connected, commits wait for {facts.following}",
        f"{facts.standbys} connectés, les commits en attendent {facts.following}",
    )
    if named and facts.standbys and not facts.sees:
        return warn(
            "standby",
            Both(
                f"commits wait for {named}, but this role may not see who follows",
                f"les commits attendent {named}, mais ce rôle ne peut voir qui suit",
            ),
            Both(
                "As PostgreSQL's superuser: GRANT pg_read_all_stats TO the role of MISS_DATABASE.",
                "En superutilisateur de PostgreSQL : GRANT pg_read_all_stats TO le rôle de"
                " MISS_DATABASE.",
            ),
        )
    if named and not facts.following:
        return bad(
            "standby",
            Both(
                f"commits wait for {named}, and none is connected",
                f"les commits attendent {named}, et aucun n'est connecté",
            ),
            Both(
                "Start the standby; or, if its room is lost for good, empty"
                " synchronous_standby_names.",
                "Démarrez le secours ; ou, si sa salle est perdue pour de bon, videz"
                " synchronous_standby_names.",
            ),
        )
    if facts.standbys and not named:
        return warn(
            "standby",
            Both(
                "a standby follows, but no commit waits for it",
                "un secours suit, mais aucun commit ne l'attend",
            ),
            Both(
                "Set synchronous_standby_names: else failing over to it loses what was called sent.",
                "Réglez synchronous_standby_names : sinon y basculer perd ce qui était dit envoyé.",
            ),
        )
    if facts.slots and not named:
        return _away(", ".join(facts.slots))
    if not facts.standbys:
        return ok("standby", "none: one server room", "aucun : une seule salle")
    return ok("standby", *text)


def _away(slots: str) -> Finding:
    return warn(
        "standby",
        Both(
            f"the log is kept for {slots}, but nobody follows and no commit waits",
            f"le journal est gardé pour {slots}, mais personne ne suit et aucun commit n'attend",
        ),
        Both(
            "Start the standby and set synchronous_standby_names: until then what is called sent is in"
            " one room only. If there is no standby any more: SELECT pg_drop_replication_slot(...).",
            "Démarrez le secours et réglez synchronous_standby_names : d'ici là, ce qui est dit envoyé"
            " n'est que dans une salle. S'il n'y a plus de secours :"
            " SELECT pg_drop_replication_slot(...).",
        ),
    )


def _archive(facts: Facts) -> Finding:
    if facts.settings.get("archive_mode", "off") == "off":
        return warn(
            "archive",
            Both("the log is not archived", "le journal n'est pas archivé"),
            Both(
                "Right if something else streams it (pg_receivewal, your host). Else a restore goes"
                " back to the last base backup.",
                "Correct si autre chose le suit (pg_receivewal, l'hébergeur). Sinon une restauration"
                " revient à la dernière sauvegarde complète.",
            ),
        )
    if facts.archive_fails:
        return bad(
            "archive",
            Both("archiving fails", "l'archivage échoue"),
            Both(
                "Look at archive_command in PostgreSQL's log: its disk fills until it works.",
                "Voyez archive_command dans le journal de PostgreSQL : son disque se remplit.",
            ),
        )
    return ok("archive", "works", "fonctionne")


def _room(facts: Facts, connections: int) -> Finding:
    least = min(facts.limits, key=lambda limit: limit.most)
    text = Both(
        f"{least.used} of {least.most} connections in use",
        f"{least.used} connexions prises sur {least.most}",
    )
    if connections > least.most:
        return bad(
            "connections",
            text,
            Both(
                f"One server with its workers may open {connections}: lower"
                f" MISS_DATABASE_CONNECTIONS, or {least.do.en}.",
                f"Un serveur et ses processus peuvent en ouvrir {connections} : baissez"
                f" MISS_DATABASE_CONNECTIONS, ou {least.do.fr}.",
            ),
        )
    tightest = min(facts.limits, key=lambda limit: limit.left)
    if connections > tightest.left:
        return warn(
            "connections",
            text,
            Both(
                f"Another node would find no room: {tightest.do.en}.",
                f"Un nœud de plus n'aurait pas de place : {tightest.do.fr}.",
            ),
        )
    return ok("connections", *text)


def _clock(facts: Facts) -> Finding:
    seconds = facts.ahead_ms / 1000
    text = Both(
        f"PostgreSQL's is {seconds:+.1f} s from this machine's",
        f"celle de PostgreSQL est à {seconds:+.1f} s de celle-ci",
    )
    do = Both("Set both by NTP.", "Réglez les deux par NTP.")
    if abs(facts.ahead_ms) > CLOCK_BAD_MS:
        return bad("clock", text, do)
    if abs(facts.ahead_ms) > CLOCK_WARN_MS:
        return warn("clock", text, do)
    return ok("clock", *text)
