"""`miss-server directory`: make a fictive register, import a real or a fictive one."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from miss_server.cli.common import DatabaseOption, DomainOption, bar, fail, operating_user, settings
from miss_server.cli.directory_report import listed, tell, warn
from miss_server.config import Settings
from miss_server.dsn import Dsn
from miss_server.importers.generate import DEMO_PEOPLE, generate, generate_all
from miss_server.importers.importing import (
    APART_FROM,
    GONE_SHARE,
    REJECTED_SHARE,
    Allowed,
    Report,
    run_import,
)
from miss_server.importers.readers import Reader
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from miss_server.relay.clock import SystemClock
from miss_server.storage.audit import SERVER
from miss_server.storage.directory import DirectoryBusy, DirectoryFilling, ImportedFile, Record
from miss_server.storage.geography import Commune
from miss_server.storage.messages import NotDurable
from miss_server.storage.postgres.directory_filling import import_into
from miss_server.storage.postgres.pool import Options
from miss_server.storage.postgres.preparing import prepare as prepare_postgres
from miss_server.storage.sqlite.directory_building import CannotBuild
from miss_server.storage.sqlite.directory_filling import filling
from miss_server.storage.sqlite.engine import open_engine
from miss_server.storage.sqlite.store import DatabaseError, prepare
from miss_server.trickling import trickling
from miss_server.words import tr

NICENESS = 10
"""How far a large import stands behind others that want a core (nice(2))."""
PROCESSES_MAX = 2

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "The shared directory: import the national register, or make a fictive one.",
        "L'annuaire partagé : importer le répertoire national, ou en fabriquer un fictif.",
    ),
)


@app.command(
    "generate",
    help=tr(
        "Write a file of fictive people in the national register's layout; into a folder, a whole"
        " edition: activities, secure mailboxes, establishments, communes.",
        "Écrire un fichier de personnes fictives au format du répertoire national ; dans un dossier,"
        " une édition entière : activités, messageries sécurisées, établissements, communes.",
    ),
    epilog=tr("Example:", "Exemple :")
    + " miss-server directory generate PS_LibreAcces_Personne_activite_20260105060000.txt"
    " --people 2000 --seed 7",
)
def generate_command(
    output: Annotated[
        Path,
        typer.Argument(
            help=tr("the file to write, or a folder", "le fichier à écrire, ou un dossier")
        ),
    ],
    people: Annotated[
        int, typer.Option(min=1, help=tr("how many people", "combien de personnes"))
    ] = 2000,
    seed: Annotated[
        int,
        typer.Option(
            help=tr(
                "the same number makes the same people",
                "le même nombre donne les mêmes personnes",
            )
        ),
    ] = 1,
    columns: Annotated[
        int,
        typer.Option(
            help=tr("56, or 52 for the layout of 2021", "56, ou 52 pour le format de 2021")
        ),
    ] = 56,
    bom: Annotated[
        bool,
        typer.Option(
            "--bom",
            help=tr("begin with a byte order mark", "commencer par une marque d'ordre (BOM)"),
        ),
    ] = False,
    split_skills: Annotated[
        bool,
        typer.Option(
            "--split-skills",
            help=tr(
                "specialities in a file of their own (into a folder)",
                "les spécialités dans un fichier à part (dans un dossier)",
            ),
        ),
    ] = False,
    own_list: Annotated[
        bool,
        typer.Option(
            "--own-list",
            help=tr(
                "a list of people without a national number, too (into a folder)",
                "aussi une liste de personnes sans numéro national (dans un dossier)",
            ),
        ),
    ] = False,
    zipped: Annotated[
        bool,
        typer.Option(
            "--zip",
            help=tr(
                "zip archives, as they are published (into a folder)",
                "des archives zip, telles qu'elles sont publiées (dans un dossier)",
            ),
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help=tr("overwrite the file", "remplacer le fichier")),
    ] = False,
) -> None:
    """Write a fictive register."""
    if columns not in (52, 56):
        raise typer.BadParameter(tr("56 or 52", "56 ou 52"), param_hint="--columns")
    if output.is_dir():
        _generate_all(output, people, seed, split_skills, own_list, zipped)
        return
    if split_skills or own_list or zipped:
        raise typer.BadParameter(
            tr("give a folder that exists", "donnez un dossier qui existe"), param_hint="OUTPUT"
        )
    if output.exists() and not force:
        fail(
            tr(f"{output} already exists.", f"{output} existe déjà."),
            hint=tr("Choose another name, or add --force.", "Choisissez un autre nom, ou --force."),
        )
    try:
        lines = generate(output, people=people, seed=seed, columns=columns, bom=bom)
    except OSError as error:
        _fail_os(output, error)
    people = max(people, len(DEMO_PEOPLE))
    typer.echo(
        tr(
            f"{output}: {people} fictive people, {lines} activities. Next:\n"
            f"  miss-server directory import {output}",
            f"{output} : {people} personnes fictives, {lines} activités. Ensuite :\n"
            f"  miss-server directory import {output}",
        )
    )


def _generate_all(
    folder: Path, people: int, seed: int, split_skills: bool, own_list: bool, zipped: bool
) -> None:
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    try:
        written = generate_all(
            folder,
            people=people,
            seed=seed,
            stamp=f"{now:%Y%m%d%H%M}",
            split_skills=split_skills,
            own_list=own_list,
            zipped=zipped,
        )
    except OSError as error:
        _fail_os(folder, error)
    files = " ".join(map(str, written.files))
    typer.echo(
        tr(
            f"{written.lines} fictive lines. Next:\n  miss-server directory import {files}",
            f"{written.lines} lignes fictives. Ensuite :\n  miss-server directory import {files}",
        )
    )


@app.command(
    "import",
    help=tr(
        "Make the national sources' files and your own the directory, beside a running server. The old"
        " directory stays in force until the new one is complete, and if anything is wrong. Give the"
        " files of all sources together, zipped or not; what each is, its columns say.",
        "Faire des fichiers des sources nationales et des vôtres l'annuaire, à côté d'un serveur en"
        " marche. L'ancien annuaire reste en vigueur jusqu'à ce que le nouveau soit complet, et si"
        " quelque chose ne va pas. Donnez ensemble les fichiers de toutes les sources, zippés ou non ;"
        " leurs colonnes disent ce qu'ils sont.",
    ),
    epilog=tr("Example:", "Exemple :")
    + " miss-server directory import PS_LibreAcces.zip Extraction_Correspondance_MSSante.zip"
    " finess.csv members.csv --dry-run",
)
def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help=tr(
                "files of all sources; together they are the whole directory",
                "fichiers de toutes les sources ; ensemble, ils sont tout l'annuaire",
            ),
        ),
    ],
    database: DatabaseOption = None,
    domain: DomainOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help=tr("report only", "rendre compte sans rien changer")),
    ] = False,
    test_identifiers: Annotated[
        bool,
        typer.Option(
            "--test-identifiers",
            help=tr(
                "keep people whose identifier fails its check (never in production)",
                "garder les personnes dont l'identifiant est faux (jamais en production)",
            ),
        ),
    ] = False,
    max_gone: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help=tr(
                "refuse if more than this percentage of the entries would be gone",
                "refuser si plus de ce pourcentage des entrées disparaissait",
            ),
        ),
    ] = GONE_SHARE * 100,
    max_rejected: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help=tr(
                "refuse if more than this percentage of a file's lines cannot be used",
                "refuser si plus de ce pourcentage des lignes d'un fichier est inutilisable",
            ),
        ),
    ] = REJECTED_SHARE * 100,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help=tr(
                "leave a source of the directory in force away for good",
                "retirer pour de bon une source de l'annuaire en vigueur",
            ),
        ),
    ] = None,
    allow_older: Annotated[
        bool,
        typer.Option(
            "--allow-older",
            help=tr(
                "go back to a file older than the directory in force",
                "revenir à un fichier plus ancien que l'annuaire en vigueur",
            ),
        ),
    ] = False,
) -> None:
    """Import a register."""
    now_ms = SystemClock().now_ms()
    chosen = settings(database=database, domain=domain)
    try:
        texts = [
            text for file in files for text in readers(file, test_identifiers=test_identifiers)
        ]
        processes = _give_way(texts)
        allowed = Allowed(max_rejected / 100, max_gone / 100, tuple(without or ()), allow_older)

        def work(target: DirectoryFilling) -> Report:
            target.actor = operating_user()
            with bar("") as shown, trickling() if processes else nullcontext():
                return run_import(
                    texts,
                    target,
                    now_ms=now_ms,
                    dry_run=dry_run,
                    allowed=allowed,
                    processes=processes,
                    progress=lambda text, share: shown(share, text),
                )

        report = _over(chosen, work, dry_run=dry_run, now_ms=now_ms, apart=processes > 0)
    except ImportRefused as error:
        warn(*listed([error.faults]))
        fail(f"{error.code}: {error.reason} {_NOT_IMPORTED}", hint=error.advice)
    except DirectoryBusy:
        fail(
            tr(
                "Another import into this database is running.",
                "Un autre import dans cette base est en cours.",
            ),
            hint=tr("Wait until it is done.", "Attendez qu'il soit terminé."),
        )
    except (DatabaseError, NotDurable, DBAPIError, sqlite3.Error, CannotBuild) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        fail(
            tr(f"The database cannot be used: {cause}.", f"La base est inutilisable : {cause}.")
            + " "
            + _NOT_IMPORTED,
            hint=tr(
                "Check --database, --domain and the room on the disk.",
                "Vérifiez --database, --domain et la place sur le disque.",
            ),
        )
    except ChildProcessError as error:
        fail(f"{error}. {_NOT_IMPORTED}")
    except OSError as error:
        _fail_os(Path(error.filename or ""), error)
    tell(report, dry_run=dry_run, now_ms=now_ms)


def _give_way(texts: Sequence[Reader]) -> int:
    """How many processes may work beside this one. A national import takes a minute of every core: a
    server on the same machine goes first."""
    if sum(text.size for text in texts) < APART_FROM:
        return 0
    os.nice(NICENESS)
    return min(PROCESSES_MAX, os.cpu_count() or 1)


_NOT_IMPORTED = tr(
    "Nothing was imported: the directory is as it was.",
    "Rien n'a été importé : l'annuaire est inchangé.",
)


class _NoDirectory:
    """What a dry run compares with when there is no database yet: nothing. It writes nothing."""

    actor = SERVER

    def files(self) -> list[ImportedFile]:
        return []

    def known(self) -> Iterator[tuple[str, bytes]]:
        return iter(())

    def aside(self) -> Iterator[tuple[str, bytes]]:
        return iter(())

    def amend(self, gone: Iterable[str], records: Iterable[Record], count: int) -> None:
        raise AssertionError("a dry run writes nothing")

    def clear(self) -> None:
        raise AssertionError("a dry run clears nothing")

    def publish(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        raise AssertionError("a dry run publishes nothing")

    def renew(self, files: Sequence[ImportedFile], remembered: bytes = b"") -> None:
        raise AssertionError("a dry run notes nothing")

    def remembered(self) -> bytes | None:
        return None

    def holders(self) -> Collection[str]:
        return ()

    def communes(self) -> list[Commune]:
        return []

    def settle(self, communes: Sequence[Commune]) -> None:
        raise AssertionError("a dry run settles nothing")


def _over(
    chosen: Settings,
    work: Callable[[DirectoryFilling], Report],
    *,
    dry_run: bool,
    now_ms: int,
    apart: bool,
) -> Report:
    if not isinstance(chosen.database, Dsn):
        with _target(chosen, dry_run=dry_run, now_ms=now_ms, apart=apart) as target:
            return work(target)

    async def over_postgres(options: Options) -> Report:
        await prepare_postgres(options, domain=chosen.domain, now_ms=now_ms)
        return await import_into(options, work, apart=apart)

    return asyncio.run(over_postgres(Options(chosen.postgres.secret)))


@contextmanager
def _target(
    chosen: Settings, *, dry_run: bool, now_ms: int, apart: bool
) -> Iterator[DirectoryFilling]:
    if dry_run and not chosen.file.exists():
        yield _NoDirectory()
        return
    prepare(chosen.file, domain=chosen.domain, now_ms=now_ms)
    engine = open_engine(chosen.file)
    try:
        with filling(engine, chosen.file, apart=apart) as target:
            yield target
    finally:
        engine.dispose()


def _fail_os(path: Path, error: OSError) -> NoReturn:
    fail(
        f"{path}: {error.strerror or error}",
        hint=tr("Check the name and the permissions.", "Vérifiez le nom et les droits."),
    )
