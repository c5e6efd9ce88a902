"""`miss-server codes create`: codes for a list of people, as a table and as letters."""

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated

import typer

from miss_protocol.errors import Malformed
from miss_protocol.identity.enrolment_link import origin
from miss_server.admin.codes import Issued, IssuedCode, Orders, issue_codes, order_codes
from miss_server.admin.letters import Letter, letters_page, link_of
from miss_server.admin.people_lists import LIST_MAX, ListError, PeopleList, read_people
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    LanguageOption,
    fail,
    letters_language,
    operating_user,
    settings,
)
from miss_server.cli.stores import with_store
from miss_server.relay.clock import SystemClock
from miss_server.stores import Store
from miss_server.words import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Enrolment codes for many people.\n\nExample: miss-server codes create --from people.csv",
        "Codes d'inscription pour beaucoup de personnes.\n\n"
        "Exemple : miss-server codes create --from personnes.csv",
    ),
)

HEADINGS = ("person", "name", "code", "expires", "link")
TOLD = 20
"""Lines of one kind in a report; of the others the number is told."""


@app.command(
    "create",
    help=tr(
        "Make a code for everybody in a list, as a table and as letters to print. If a line is "
        "wrong, no code is made at all, unless --skip-wrong is given.\n\n"
        "The list: a CSV with national identifiers (or RPPS numbers) in the column `person`, or in "
        "the first one. The files that are written hold secrets: only you can read them; delete "
        "them once the letters are out.\n\n"
        "Example: miss-server codes create --from people.csv --letters letters.html",
        "Créer un code pour chaque personne d'une liste, en tableau et en lettres à imprimer. Si une "
        "ligne est fausse, aucun code n'est créé, sauf avec --skip-wrong.\n\n"
        "La liste : un CSV avec les identifiants nationaux (ou numéros RPPS) dans la colonne "
        "`identifiant`, ou la première. Les fichiers écrits contiennent des secrets : vous seul "
        "pouvez les lire ; effacez-les une fois les lettres parties.\n\n"
        "Exemple : miss-server codes create --from personnes.csv --letters lettres.html",
    ),
)
def create(
    source: Annotated[
        Path,
        typer.Option("--from", help=tr("The list of people, CSV.", "La liste des personnes, CSV.")),
    ],
    letters: Annotated[
        Path | None,
        typer.Option(
            help=tr("Where to write the letters (HTML).", "Où écrire les lettres (HTML).")
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=tr("Where to write the table (CSV).", "Où écrire le tableau (CSV).")),
    ] = None,
    language: LanguageOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            help=tr(
                "Where clients reach the service (MISS_PUBLIC_URL).",
                "Où les clients joignent le service (MISS_PUBLIC_URL).",
            ),
            show_default="https://DOMAIN",
        ),
    ] = None,
    skip_wrong: Annotated[
        bool,
        typer.Option(
            "--skip-wrong",
            help=tr(
                "Make codes for all others, if lines are wrong.",
                "Créer les codes des autres si des lignes sont fausses.",
            ),
        ),
    ] = False,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Make codes for a list of people."""
    chosen = settings(database=database, domain=domain)
    try:
        at = origin(server) if server else chosen.address
    except Malformed:
        fail(
            tr(f"{server} is no address", f"{server} n'est pas une adresse"),
            hint=tr(
                "Write it as https://miss.example.org.", "Par exemple : https://miss.example.org."
            ),
        )
    people = _read(source)
    with ExitStack() as files:
        # Before any code is made: a folder that cannot be written costs nobody a code.
        table = files.enter_context(private_file(out)) if out else None
        pages = files.enter_context(private_file(letters)) if letters else None

        async def work(store: Store) -> tuple[Orders, Issued | None]:
            clock = SystemClock()
            orders = await order_codes(
                store, store, list(people.lines), domain=chosen.domain, clock=clock
            )
            wrong = bool(orders.unknown or orders.unvouched or people.faults)
            if (wrong and not skip_wrong) or not orders.codes:
                return orders, None
            return orders, await issue_codes(
                store, orders.codes, clock=clock, actor=operating_user()
            )

        orders, issued = with_store(chosen, work)
        _report(people, orders)
        if issued is None:
            fail(
                tr("no code was made", "aucun code n'a été créé"),
                hint=tr(
                    "Correct the list, or leave these lines out with --skip-wrong.",
                    "Corrigez la liste, ou ignorez ces lignes avec --skip-wrong.",
                ),
            )
        try:
            if table is not None:
                table.write("\ufeff" + codes_table(issued.codes, at))
            if pages is not None:
                wanted = letters_language(chosen, language)
                written = [Letter(one.name, one.code, one.expires_ms) for one in issued.codes]
                pages.write(letters_page(written, domain=chosen.domain, server=at, language=wanted))
        except OSError as error:
            _lost(error)
    if table is None and pages is None:
        sys.stdout.write(codes_table(issued.codes, at))
    _tell(issued)


def codes_table(codes: Sequence[IssuedCode], server: str) -> str:
    """A table of codes, as CSV for a spreadsheet."""
    written = io.StringIO()
    rows = csv.writer(written, delimiter=";", lineterminator="\n")
    rows.writerow(HEADINGS)
    for one in codes:
        until = datetime.fromtimestamp(one.expires_ms / 1000, UTC).isoformat(timespec="minutes")
        link = link_of(Letter(one.name, one.code, one.expires_ms), server)
        # A name that begins like a formula must not become one.
        name = f"'{one.name}" if one.name[:1] in "=+-@\t\r" else one.name
        rows.writerow((one.person, name, one.code, until, link))
    return written.getvalue()


def _read(source: Path) -> PeopleList:
    try:
        with source.open("rb") as file:
            return read_people(file.read(LIST_MAX + 1))
    except (OSError, ListError) as error:
        fail(f"{source}: {getattr(error, 'strerror', None) or error}")


@contextmanager
def private_file(path: Path) -> Iterator[IO[str]]:
    """A file that nobody else can read, under its name once it is whole. One that exists stays."""
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists():
            raise FileExistsError(0, tr("exists already", "existe déjà"))
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    file = os.fdopen(handle, "w", encoding="utf-8", newline="")
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.link(part, path)  # not over a file that has come meanwhile
    except OSError as error:
        _lost(error)
    finally:
        with suppress(OSError):
            file.close()
        part.unlink(missing_ok=True)


def _lost(error: OSError) -> None:
    fail(
        tr(
            f"the codes were made and could not be written: {error.strerror or error}",
            f"les codes ont été créés et n'ont pas pu être écrits : {error.strerror or error}",
        ),
        hint=tr(
            "Make room and run the same command again: new codes end these.",
            "Libérez de la place et relancez la commande : de nouveaux codes remplacent ceux-ci.",
        ),
    )


def _report(people: PeopleList, orders: Orders) -> None:
    wrong = [(fault.line, str(fault.why)) for fault in people.faults]
    wrong += [
        (
            people.lines[one],
            tr(f"{one} is not in the directory", f"{one} n'est pas dans l'annuaire"),
        )
        for one in orders.unknown
    ]
    wrong += [
        (
            people.lines[one],
            tr(
                f"{one} has no national number, and nobody vouches for them",
                f"{one} n'a pas de numéro national, et personne ne l'atteste",
            ),
        )
        for one in orders.unvouched
    ]
    _lines(sorted(wrong))
    _lines(
        [
            (line, tr(f"{one} is named twice", f"{one} est nommé deux fois"))
            for line, one in people.doubles
        ]
    )


def _lines(told: Sequence[tuple[int, str]]) -> None:
    for line, text in told[:TOLD]:
        sys.stderr.write(tr(f"line {line}: {text}\n", f"ligne {line} : {text}\n"))
    if len(told) > TOLD:
        more = len(told) - TOLD
        sys.stderr.write(tr(f"… and {more} more\n", f"… et {more} autres\n"))


def _tell(issued: Issued) -> None:
    for one in issued.enrolled[:TOLD]:
        sys.stderr.write(
            tr(
                f"{one} has a device already: no code\n",
                f"{one} a déjà un appareil : pas de code\n",
            )
        )
    many, more = len(issued.codes), len(issued.enrolled)
    sys.stderr.write(
        tr(
            f"{many} codes, {more} had a device already\n",
            f"{many} codes, {more} avaient déjà un appareil\n",
        )
    )
