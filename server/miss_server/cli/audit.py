"""`miss-server audit`."""

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from miss_protocol.audit import AuditEntry, Chain, Fault, Head, parse_head
from miss_protocol.errors import Malformed
from miss_server.cli.common import EXIT_USAGE, DatabaseOption, DomainOption, fail, settings
from miss_server.cli.stores import with_store
from miss_server.relay.clock import SystemClock
from miss_server.storage.audit import AuditLog
from miss_server.words import tr

PAGE = 1_000
EXIT_BROKEN = 4

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "What operators, administrators and the server did, without any content.",
        "Ce qu'ont fait opérateurs, administrateurs et serveur, sans aucun contenu.",
    ),
)

AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account",
        help=tr(
            "Only entries about this account or national identifier.",
            "Seulement ce qui concerne ce compte ou cet identifiant national.",
        ),
        show_default=False,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        help=tr(
            "From this day (2026-11-27), or for so many days (30d).",
            "Depuis ce jour (2026-11-27) ou sur tant de jours (30d).",
        ),
        show_default=False,
    ),
]


@app.command(
    "verify",
    help=tr(
        "Follow the chain from its first entry and print its head. Write the head down elsewhere: with"
        " --expect it shows later that nothing up to there was cut off or made anew. Status 4: the log"
        " was tampered with.\n\nExample: miss-server audit verify",
        "Suivre la chaîne depuis sa première entrée et afficher sa tête. Notez-la ailleurs : avec"
        " --expect, elle montrera plus tard que rien n'a été coupé ni refait jusque-là. Statut 4 : le"
        " journal a été altéré.\n\nExemple : miss-server audit verify",
    ),
)
def verify(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help=tr("A head that was printed before.", "Une tête affichée auparavant."),
            show_default=False,
        ),
    ] = None,
) -> None:
    """Verify the chain."""
    kept = _head(expect)

    async def work(log: AuditLog) -> tuple[Head, Fault | None]:
        chain = Chain(expected=kept)
        async for entry in _all(log):
            fault = chain.follow(entry)
            if fault is not None:
                return chain.head, fault
        return chain.head, chain.end()

    head, fault = with_store(settings(database=database, domain=domain), work)
    if fault is not None:
        fail(
            tr(
                f"the audit log does not hold after entry {head.seq}: {_FAULTS[fault]}",
                f"le journal d'audit ne tient pas après l'entrée {head.seq} : {_FAULTS[fault]}",
            ),
            hint=_AFTER_A_RESTORE if fault in (Fault.CUT, Fault.OTHER) else _KEEP_IT,
            status=EXIT_BROKEN,
        )
    typer.echo(
        tr(f"{head.seq} entries hold. Head: {head}", f"{head.seq} entrées tiennent. Tête : {head}")
    )


_FAULTS = {
    Fault.ALTERED: tr("the next entry was altered", "l'entrée suivante a été modifiée"),
    Fault.MISSING: tr("entries were taken out", "des entrées ont été retirées"),
    Fault.UNLINKED: tr(
        "the next entry follows another one", "l'entrée suivante en prolonge une autre"
    ),
    Fault.CUT: tr(
        "it ends before the head that was kept", "il s'arrête avant la tête qui avait été notée"
    ),
    Fault.OTHER: tr(
        "another entry stands where the head that was kept was",
        "une autre entrée est à la place de la tête qui avait été notée",
    ),
}
_AFTER_A_RESTORE = tr(
    "After a restore this is so: its entry (database_restored) names the head that it replaced.",
    "Après une restauration, c'est normal : son entrée (database_restored) nomme la tête remplacée.",
)
_KEEP_IT = tr(
    "Keep a copy of the database as it is, and compare it with a backup or an export.",
    "Gardez une copie de la base telle quelle et comparez-la à une sauvegarde ou un export.",
)


@app.command(
    "show",
    help=tr(
        "Show what was done, oldest first.\n\nExample: miss-server audit show --since 30d",
        "Montrer ce qui a été fait, du plus ancien au plus récent.\n\n"
        "Exemple : miss-server audit show --since 30d",
    ),
)
def show(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    account: AccountOption = None,
    since: SinceOption = None,
) -> None:
    """Show entries."""
    since_ms = _since(since)

    async def work(log: AuditLog) -> None:
        async for entry in _all(log, subject=account, since_ms=since_ms):
            typer.echo(_line(entry))

    with_store(settings(database=database, domain=domain), work)


@app.command(
    "export",
    help=tr(
        "Write the whole log as JSON lines, with every hash: whoever has it can follow the chain.\n\n"
        "Example: miss-server audit export > audit.jsonl",
        "Écrire tout le journal en lignes JSON, avec chaque empreinte : qui l'a peut suivre la"
        " chaîne.\n\nExemple : miss-server audit export > audit.jsonl",
    ),
)
def export(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Export the log."""

    async def work(log: AuditLog) -> None:
        async for entry in _all(log):
            sys.stdout.write(json.dumps(_plain(entry), ensure_ascii=False) + "\n")

    with_store(settings(database=database, domain=domain), work)


async def _all(
    log: AuditLog, *, subject: str | None = None, since_ms: int | None = None
) -> AsyncIterator[AuditEntry]:
    after = None  # what was put in before the first entry is no part of the log, and must show
    while page := await log.audit_entries(
        after=after, limit=PAGE, subject=subject, since_ms=since_ms
    ):
        for entry in page:
            yield entry
        after = page[-1].seq


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    try:
        return parse_head(text)
    except Malformed:
        fail(
            tr(f"{text} is no head of an audit log", f"{text} n'est pas la tête d'un journal"),
            hint=tr(
                "It is a number, a colon and 64 hexadecimal digits, as `audit verify` prints it.",
                "C'est un nombre, deux-points et 64 chiffres hexadécimaux, comme `audit verify`"
                " l'affiche.",
            ),
            status=EXIT_USAGE,
        )


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        if text.endswith("d"):
            now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
            moment = now - timedelta(days=int(text[:-1]))
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        fail(
            tr(f"{text} is no day", f"{text} n'est pas un jour"),
            hint=tr("Write 2026-11-27, or 30d.", "Écrivez 2026-11-27 ou 30d."),
            status=EXIT_USAGE,
        )


def _line(entry: AuditEntry) -> str:
    try:
        when = datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError):
        when = f"{entry.at_ms} ms"  # no time: somebody altered it, as `verify` tells
    detail = "" if entry.detail == "{}" else f"  {entry.detail}"
    about = f" {entry.subject}" if entry.subject else ""
    return f"{entry.seq}  {when}  {entry.actor}  {entry.action}{about}{detail}"


def _plain(entry: AuditEntry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at_ms": entry.at_ms,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
        "previous": _hex(entry.previous),
        "hash": _hex(entry.hash),
    }


def _hex(found: bytes | None) -> str | None:
    return found.hex() if found is not None else None  # none: somebody altered it
