"""`miss-server doctor`."""

import asyncio
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from miss_server.cli.common import EXIT_REFUSED, DatabaseOption, DomainOption, settings
from miss_server.cli.sources import unknown
from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.findings import Check, Finding, Verdict, ok, warn
from miss_server.operating import doctor as examining
from miss_server.operating import machine, running
from miss_server.operating.certificates import certificate
from miss_server.operating.freshness import DAY_MS, ages, old_sources
from miss_server.provider import settings as provider_settings
from miss_server.relay.clock import SystemClock
from miss_server.storage.postgres import checks as postgres_checks
from miss_server.storage.sqlite import checks
from miss_server.storage.sqlite.overview import SqliteOverview
from miss_server.words import Both, tr

HELP = tr(
    "Look at this installation: disk, clock, database, Redis, certificate, limits; and say what to do.\n\n"
    "It changes nothing, and works beside a running server. It ends with 1 if something is bad.\n\n"
    "Example: miss-server doctor",
    "Examiner cette installation : disque, horloge, base, Redis, certificat, limites ; et dire que faire.\n\n"
    "Rien n'est modifié, et le serveur peut fonctionner. Le statut est 1 si quelque chose est"
    " mauvais.\n\n"
    "Exemple : miss-server doctor",
)

ORGANISATIONS_SHOWN = 5
_MARKS = {Verdict.OK: "ok  ", Verdict.WARN: "warn", Verdict.BAD: "BAD "}


def doctor(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("One JSON object a line.", "Un objet JSON par ligne."))
    ] = False,
) -> None:
    """Look at this installation."""
    chosen = settings(database=database, domain=domain)
    worst = asyncio.run(_run(chosen, as_json=as_json))
    if worst is Verdict.BAD:
        raise typer.Exit(EXIT_REFUSED)


async def _run(chosen: Settings, *, as_json: bool) -> Verdict:
    worst = Verdict.OK
    async for finding in examining.examine(checks_of(chosen)):
        if finding.verdict is not Verdict.OK:
            worst = finding.verdict if worst is not Verdict.BAD else worst
        _tell(finding, as_json=as_json)
    return worst


def checks_of(chosen: Settings) -> list[tuple[str, Check]]:
    """Every check of an installation."""
    now_ms = SystemClock().now_ms()
    on_postgres = isinstance(chosen.database, Dsn)
    # With PostgreSQL a node has a folder of its own all the same, with its witness.
    folder = chosen.node_folder if on_postgres else chosen.file.parent
    disk = machine.Disk(folder)
    asked = running.ask(chosen, locked=not on_postgres and checks.is_served(chosen.file))

    async def database() -> Sequence[Finding]:
        return checks.examine(chosen.file, domain=chosen.domain, now_ms=now_ms)

    async def postgres() -> Sequence[Finding]:
        return await postgres_checks.examine(
            chosen.postgres.secret,
            domain=chosen.domain,
            connections=chosen.workers * chosen.database_connections,
            now_ms=now_ms,
        )

    async def commit() -> Sequence[Finding]:
        return await postgres_checks.commits(chosen.postgres.secret)

    async def redis() -> Sequence[Finding]:
        assert chosen.redis is not None  # noqa: S101  # asked only then
        from miss_server.doorbell import redis_checks
        from miss_server.http import counting_checks

        url, domain = chosen.redis.get_secret_value(), chosen.domain
        return [
            *await redis_checks.examine(url, domain=domain),
            *await counting_checks.examine(url, domain=domain, now_ms=SystemClock().now_ms),
        ]

    async def identity() -> Sequence[Finding]:
        told = provider_settings.of(chosen)
        assert told is not None  # noqa: S101  # asked only then
        from miss_server.provider import checks as provider_checks

        return await provider_checks.examine(told, now_ms=now_ms)

    async def directory() -> Sequence[Finding]:
        return await _directory(chosen, now_ms)

    async def administrators() -> Sequence[Finding]:
        return await _administrators(chosen)

    async def files() -> Sequence[Finding]:
        allowed = asked.max_files or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return machine.open_files(
            allowed, chosen.max_connections, of_server=asked.max_files is not None
        )

    async def private() -> Sequence[Finding]:
        if on_postgres:
            beside = sorted(folder.glob("**/*.witness"))
        else:
            base = chosen.file
            beside = [base.with_name(base.name + end) for end in ("", "-wal", "-shm", ".witness")]
        keys = [chosen.tls_key] if chosen.tls_key is not None else []
        return machine.permissions([*beside, *keys], folder)

    async def chain() -> Sequence[Finding]:
        return certificate(chosen, now_ms)

    async def server() -> Sequence[Finding]:
        return asked.findings

    async def names() -> Sequence[Finding]:
        return _settings()

    mine: list[tuple[str, Check]] = [("settings", names), ("server", server)]
    if on_postgres:
        mine += [("database", postgres), ("commit", commit), ("disk", disk.room)]
    else:
        mine += [
            ("database", database),
            ("disk", disk.room),
            ("file system", disk.kind),
            ("fsync", disk.fsync),
            ("directory", directory),
        ]
    mine.append(("administrators", administrators))
    if chosen.redis is not None:
        mine.append(("Redis", redis))
    if chosen.provider_discovery is not None:
        mine.append(("identity provider", identity))
    mine += [("clock", machine.clock), ("open files", files), ("certificate", chain)]
    if folder.exists():
        mine.append(("permissions", private))
    return mine


def _settings() -> Sequence[Finding]:
    do = Both(
        "Correct or unset it: see miss-server config check.",
        "Corrigez ou supprimez-la : voir miss-server config check.",
    )
    wrong = [
        warn("settings", Both(f"{name} is none", f"{name} n'en est pas un"), do)
        for name, _ in unknown()
    ]
    return wrong or [ok("settings", "all known", "tous connus")]


async def _directory(chosen: Settings, now_ms: int) -> Sequence[Finding]:
    do = Both(
        "Import all sources, each in its newest file: miss-server directory import FILE…",
        "Importez toutes les sources, chacune dans son dernier fichier : miss-server directory import"
        " FICHIER…",
    )
    figures = None
    if chosen.file.exists():
        figures = await SqliteOverview(chosen.file).figures(now_ms=now_ms)
    if figures is None or figures.directory_ms is None:
        return [warn("directory", Both("none is imported", "aucun n'est importé"), do)]
    days = (now_ms - figures.directory_ms) // DAY_MS
    each = ages(figures.directory_sources, now_ms)
    text = Both(
        f"{figures.directory_entries} entries, {days} days old ({each})",
        f"{figures.directory_entries} entrées, {days} jours ({each})",
    )
    if not (old := ", ".join(old_sources(figures.directory_sources, now_ms))):
        return [ok("directory", *text)]
    text = Both(f"{text.en}; too old: {old}", f"{text.fr} ; trop ancien : {old}")
    return [warn("directory", text, do)]


async def _administrators(chosen: Settings) -> Sequence[Finding]:
    if isinstance(chosen.database, Dsn):
        from miss_server.shared_stores import options_of
        from miss_server.storage.postgres.overview import PostgresOverview

        left = await PostgresOverview(options_of(chosen)).without_administrator()
    elif chosen.file.exists():
        left = await SqliteOverview(chosen.file).without_administrator()
    else:
        left = []
    subject = "administrators"
    if not left:
        return [ok(subject, "no organisation waits for one", "aucune organisation n'en attend")]
    some = ", ".join(left[:ORGANISATIONS_SHOWN]) + ("…" if len(left) > ORGANISATIONS_SHOWN else "")
    text = Both(
        f"nobody can act for {len(left)} organisations: {some}",
        f"personne ne peut agir pour {len(left)} organisations : {some}",
    )
    do = Both(
        "Name somebody: miss-server organisations admin add ORGANISATION ACCOUNT",
        "Nommez quelqu'un : miss-server organisations admin add ORGANISATION COMPTE",
    )
    return [warn(subject, text, do)]


def _tell(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        plain = asdict(finding) | {
            "text": finding.text._asdict(),
            "do": finding.do._asdict() if finding.do else None,
        }
        typer.echo(json.dumps(plain, ensure_ascii=False))
        return
    typer.echo(f"{_MARKS[finding.verdict]}  {finding.subject}: {finding.text}")
    if finding.do is not None:
        typer.echo(f"        {finding.do}")
    sys.stdout.flush()
