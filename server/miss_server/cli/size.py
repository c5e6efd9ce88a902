"""`miss-server size`."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miss_server.cli.common import DatabaseOption, DomainOption, settings
from miss_server.cli.looking import with_overview
from miss_server.dsn import Dsn
from miss_server.relay.clock import SystemClock
from miss_server.storage.overview import Figures, Overview, Sizes
from miss_server.words import tr

HELP = tr(
    "Show how large the database is, table by table, how it grows, and what to do about it.\n\n"
    "It reads the whole file once; the server goes on meanwhile.\n\n"
    "Example: miss-server size",
    "Montrer la taille de la base, table par table, sa croissance et ce qu'il faut faire.\n\n"
    "Le fichier est lu une fois en entier ; le serveur continue.\n\n"
    "Exemple : miss-server size",
)

ACCOUNTS_OF_ONE_FILE = 20_000
"""Beyond, a second node is worth more than a larger one: that needs PostgreSQL."""
LOG_LARGE = 1 << 30
"""The log is emptied all the time; one of this size is held by a reader that does not end."""
FREE_SHARE = 0.5
_TABLES_SHOWN = 12


def size(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=tr("As JSON.", "En JSON."))] = False,
) -> None:
    """Show how large the database is."""
    chosen = settings(database=database, domain=domain)
    now_ms = SystemClock().now_ms()

    async def look(overview: Overview) -> tuple[Figures, Sizes]:
        return await overview.figures(now_ms=now_ms), await overview.sizes(now_ms=now_ms)

    figures, sizes = with_overview(chosen, look)
    # PostgreSQL's disk may be another machine's: only it could tell.
    free = None
    if not isinstance(chosen.database, Dsn):
        free = shutil.disk_usage(chosen.file.parent).free
    advice = list(_advice(figures, sizes, free, on_postgres=free is None))
    if as_json:
        told = {"figures": asdict(figures), "sizes": asdict(sizes), "disk_free": free}
        typer.echo(json.dumps(told | {"advice": advice}, indent=2))
        return
    for line in _summary(figures, sizes, free):
        typer.echo(line)
    table = Table(
        tr("Table", "Table"),
        tr("Rows", "Lignes"),
        tr("Size", "Taille"),
    )
    for one in sizes.tables[:_TABLES_SHOWN]:
        table.add_row(one.name, f"{one.rows:,}" if one.rows else "", shown(one.bytes))
    Console().print(table)
    for line in advice:
        typer.echo(line)


def _summary(figures: Figures, sizes: Sizes, free: int | None) -> Iterator[str]:
    yield tr(
        f"{figures.accounts} accounts, {figures.devices} devices ({figures.dormant} not seen for 30"
        f" days), {figures.directory_entries} people in the directory.",
        f"{figures.accounts} comptes, {figures.devices} appareils ({figures.dormant} pas vus depuis"
        f" 30 jours), {figures.directory_entries} personnes dans l'annuaire.",
    )
    yield tr(
        f"{figures.waiting} messages wait in {figures.mailboxes} mailboxes"
        f" ({shown(figures.waiting_bytes)}); {sizes.messages_week} ended in the last 7 days.",
        f"{figures.waiting} messages attendent dans {figures.mailboxes} boîtes"
        f" ({shown(figures.waiting_bytes)}) ; {sizes.messages_week} terminés en 7 jours.",
    )
    if free is None:
        yield tr(
            f"The database takes {shown(sizes.total)}.", f"La base prend {shown(sizes.total)}."
        )
    else:
        yield tr(
            f"On the disk: {shown(sizes.total)}, of which {shown(sizes.free)} are free inside;"
            f" {shown(free)} are left on the disk.",
            f"Sur le disque : {shown(sizes.total)}, dont {shown(sizes.free)} libres à l'intérieur ;"
            f" il reste {shown(free)} sur le disque.",
        )
    yield tr(
        f"In the last 30 days: {sizes.new_accounts} new accounts, {sizes.new_devices} new devices;"
        f" at this pace about {shown(growth(figures, sizes))} more a month.",
        f"En 30 jours : {sizes.new_accounts} nouveaux comptes, {sizes.new_devices} nouveaux"
        f" appareils ; à ce rythme environ {shown(growth(figures, sizes))} de plus par mois.",
    )


LASTING = frozenset(
    {
        "accounts",
        "devices",
        "mailboxes",
        "rosters",
        "prekeys",
        "charters",
        "relations",
        "reach_rules",
        "attestations",
        "administrators",
        "organisation_people",
        "former_rosters",
        "invitations",
        "invited_people",
        "wishes",
        "audit",
        "proofs",
    }
)
"""Tables that grow with people. Messages come and go: their tables stay as large as a week is."""


def growth(figures: Figures, sizes: Sizes) -> int:
    """Bytes of a month, from what the accounts of the last one take and a week's messages grew."""
    lasting = sum(table.bytes for table in sizes.tables if table.name in LASTING)
    passing = sum(table.bytes for table in sizes.tables if table.name in {"sends", "envelopes"})
    return round((lasting + passing) * sizes.new_devices / max(1, figures.devices))


def _advice(
    figures: Figures, sizes: Sizes, free: int | None, *, on_postgres: bool
) -> Iterator[str]:
    if free is not None and free < sizes.total:
        yield tr(
            "Less is free on the disk than the database takes: a backup beside it, or a restore, has"
            " no room. Get a larger disk.",
            "Il reste moins de place que n'en prend la base : une sauvegarde à côté, ou une"
            " restauration, n'y tient pas. Agrandissez le disque.",
        )
    if sizes.log > LOG_LARGE:
        yield tr(
            "The write-ahead log is large: some program keeps the file open for reading. End it.",
            "Le journal est gros : un programme garde le fichier ouvert en lecture. Arrêtez-le.",
        )
    if sizes.total > LOG_LARGE and sizes.free > FREE_SHARE * sizes.total:
        yield tr(
            "More than half of the file is free inside. It is used again; to give it back to the"
            " disk, back up and restore.",
            "Plus de la moitié du fichier est libre. Cette place resservira ; pour la rendre au"
            " disque, sauvegardez puis restaurez.",
        )
    if figures.full:
        yield tr(
            f"{figures.full} mailboxes are full: devices that nobody uses. Their owners should remove"
            " them.",
            f"{figures.full} boîtes sont pleines : des appareils inutilisés. Leurs titulaires"
            " devraient les retirer.",
        )
    if figures.accounts > ACCOUNTS_OF_ONE_FILE and not on_postgres:
        yield tr(
            "With so many accounts a second node is worth having: move to PostgreSQL.",
            "Avec autant de comptes, un second nœud s'impose : passez à PostgreSQL.",
        )


def shown(size: float) -> str:
    """Bytes for people."""
    for unit in (tr("bytes", "octets"), tr("KiB", "Kio"), tr("MiB", "Mio")):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} " + tr("GiB", "Gio")
