"""`miss-server invitations`: what waits to be sent to people who are not on MiSS yet."""

import asyncio
import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miss_protocol.ids import AccountAddress
from miss_protocol.languages import Language
from miss_server.admin.invitations import Text, TextError, Written, text_of, write
from miss_server.admin.post import (
    MailServer,
    NotAccepted,
    Post,
    PostError,
    Uncertain,
    connected,
)
from miss_server.cli.common import (
    EXIT_USAGE,
    DatabaseOption,
    DomainOption,
    LanguageOption,
    fail,
    letters_language,
    operating_user,
    settings,
)
from miss_server.cli.stores import with_store
from miss_server.config import Settings
from miss_server.relay.clock import SystemClock
from miss_server.storage.invitations import Letter
from miss_server.stores import Store
from miss_server.words import tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Invitations that people asked for: send them, or keep somebody from getting any.\n\n"
        "Example: miss-server invitations list",
        "Les invitations demandées : les envoyer, ou en dispenser quelqu'un.\n\n"
        "Exemple : miss-server invitations list",
    ),
)

COLUMNS = ("person", "name", "mailbox", "address", "invited_by", "subject", "text")
PAGE = 200

_Person = Annotated[
    list[str],
    typer.Argument(
        help=tr("Identifiers of the directory.", "Identifiants de l'annuaire."),
    ),
]
_TextFile = Annotated[
    Path | None,
    typer.Option(
        "--text",
        help=tr(
            "A text of your own: its first line is the subject; $name, $inviters, $domain.",
            "Un texte à vous : l'objet en première ligne ; $name, $inviters, $domain.",
        ),
    ),
]


@app.command(
    "list",
    help=tr(
        "Show whom a letter waits for, by whom they are invited, and since when.\n\n"
        "Example: miss-server invitations list --json",
        "Montrer pour qui une lettre attend, qui les invite et depuis quand.\n\n"
        "Exemple : miss-server invitations list --json",
    ),
)
def listing(
    database: DatabaseOption = None,
    domain: DomainOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("One JSON object a line.", "Un objet JSON par ligne."))
    ] = False,
) -> None:
    """List the letters that wait."""
    chosen = settings(database=database, domain=domain)
    letters, written, gone = with_store(chosen, lambda store: _all(store, chosen, text_of("en")))
    since = {letter.person: letter.since_ms for letter in letters}
    if as_json:
        for one in written:
            told = {"person": one.person, "name": one.name, "mailbox": one.mailbox}
            invited_by = {"invited_by": list(one.inviters), "since_ms": since[one.person]}
            typer.echo(json.dumps(told | invited_by))
        return
    table = Table(
        tr("Person", "Personne"),
        tr("Name", "Nom"),
        tr("Where", "Où"),
        tr("Invited by", "Invité par"),
        tr("Since", "Depuis"),
    )
    for one in written:
        where = one.mailbox or ", ".join(one.address) or tr("no address", "sans adresse")
        day = datetime.fromtimestamp(since[one.person] / 1000, UTC).date().isoformat()
        table.add_row(one.person, one.name, where, "; ".join(one.inviters), day)
    Console().print(table)
    _tell_gone(gone)


@app.command(
    "export",
    help=tr(
        "Write the letters that wait into a CSV for a mail merge, and each into a text file.\n\n"
        "Nothing counts as sent before `miss-server invitations sent --file`.\n\n"
        "Example: miss-server invitations export letters.csv --letters letters/",
        "Écrire les lettres qui attendent dans un CSV pour publipostage, et chacune en texte.\n\n"
        "Rien ne compte comme envoyé avant `miss-server invitations sent --file`.\n\n"
        "Exemple : miss-server invitations export lettres.csv --letters lettres/",
    ),
)
def export(
    file: Annotated[
        Path, typer.Argument(help=tr("The CSV file to write.", "Le fichier CSV à écrire."))
    ],
    letters: Annotated[
        Path | None,
        typer.Option(
            "--letters", help=tr("A folder for one text each.", "Un dossier, un texte par lettre.")
        ),
    ] = None,
    language: LanguageOption = None,
    text: _TextFile = None,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Write the letters that wait."""
    chosen = settings(database=database, domain=domain)
    words = _words(chosen, language, text)
    _, written, gone = with_store(chosen, lambda store: _all(store, chosen, words))
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(COLUMNS)
            rows.writerows(_row(one) for one in written)
        if letters is not None:
            letters.mkdir(parents=True, exist_ok=True)
            for number, one in enumerate(written, 1):
                head = "\n".join((one.name, *one.address, "", one.subject, ""))
                path = letters / f"{number:04}.txt"
                path.write_text(f"{head}\n{one.text}", encoding="utf-8")
    except OSError as error:
        fail(str(error))
    typer.echo(
        tr(
            f"{len(written)} letters. Once they are out: miss-server invitations sent --file {file}",
            f"{len(written)} lettres. Une fois parties : miss-server invitations sent --file {file}",
        )
    )
    _tell_gone(gone)


def _row(one: Written) -> Iterator[str]:
    address = "\n".join(one.address)
    for cell in (
        *(one.person, one.name, one.mailbox, address),
        *("\n".join(one.inviters), one.subject, one.text),
    ):
        # A spreadsheet would reckon with a name that begins like a formula.
        yield f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


@app.command(
    "sent",
    help=tr(
        "Note that letters are out, so that nobody gets a second one.\n\n"
        "Example: miss-server invitations sent --file letters.csv",
        "Noter que des lettres sont parties, pour que personne n'en reçoive deux.\n\n"
        "Exemple : miss-server invitations sent --file lettres.csv",
    ),
)
def sent(
    person: Annotated[
        list[str] | None,
        typer.Argument(help=tr("Identifiers of the directory.", "Identifiants de l'annuaire.")),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help=tr("What `export` wrote.", "Ce qu'`export` a écrit.")),
    ] = None,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Note that letters are out."""
    chosen = settings(database=database, domain=domain)
    persons = [*(person or ()), *(_persons_of(file) if file is not None else ())]
    if not persons:
        fail(
            tr("nobody is named", "personne n'est nommé"),
            hint=tr("Name people, or --file.", "Nommez des personnes, ou --file."),
            status=EXIT_USAGE,
        )

    async def work(store: Store) -> int:
        now_ms = SystemClock().now_ms()
        by = operating_user()
        once = dict.fromkeys(persons)
        done = [await store.hand_over(one, now_ms=now_ms, actor=by) for one in once]
        return len([one for one in done if one])

    count = with_store(chosen, work)
    typer.echo(tr(f"{count} letters noted as sent.", f"{count} lettres notées comme envoyées."))


def _persons_of(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            if "person" not in (rows.fieldnames or ()):
                fail(tr(f"{file} has no column `person`", f"{file} n'a pas de colonne `person`"))
            return [row["person"] for row in rows if row["person"]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(f"{file}: {error}")


@app.command(
    "send",
    help=tr(
        "Send the letters that wait to people's secure mailboxes, by your mail server over TLS.\n\n"
        "People without a mailbox stay in the list: export those.\n\n"
        "Example: miss-server invitations send --smtp smtp://mail.example.org --from miss@example.org",
        "Envoyer les lettres qui attendent aux boîtes sécurisées, par votre serveur de messagerie.\n\n"
        "Les personnes sans boîte restent dans la liste : exportez-les.\n\n"
        "Exemple : miss-server invitations send --smtp smtp://mail.example.org --from miss@example.org",
    ),
)
def send(
    smtp: Annotated[
        str | None,
        typer.Option(help=tr("Your mail server (MISS_SMTP).", "Votre serveur (MISS_SMTP).")),
    ] = None,
    smtp_from: Annotated[
        str | None,
        typer.Option(
            "--from", help=tr("Who writes (MISS_SMTP_FROM).", "L'expéditeur (MISS_SMTP_FROM).")
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help=tr("At most so many.", "Au plus autant."))
    ] = PAGE,
    language: LanguageOption = None,
    text: _TextFile = None,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Send the letters that wait."""
    chosen = settings(database=database, domain=domain, smtp=smtp, smtp_from=smtp_from)
    if chosen.smtp is None or chosen.smtp_from is None:
        fail(
            tr("no mail server is set", "aucun serveur de messagerie n'est réglé"),
            hint="--smtp smtp://HOST --from ADDRESS (MISS_SMTP, MISS_SMTP_FROM)",
            status=EXIT_USAGE,
        )
    words = _words(chosen, language, text)
    server = MailServer(
        chosen.smtp,
        chosen.smtp_from,
        chosen.smtp_user or "",
        chosen.smtp_password.get_secret_value() if chosen.smtp_password else "",
        chosen.smtp_ca,
    )

    async def work(store: Store) -> tuple[int, list[str], list[str]]:
        _, written, gone = await _all(store, chosen, words)
        reachable = [one for one in written if one.mailbox][:limit]
        if not reachable:
            return 0, [], gone
        with ExitStack() as open_:
            post = await asyncio.to_thread(open_.enter_context, connected(server))
            return (*await _send(store, post, reachable), gone)

    try:
        count, refused, gone = with_store(chosen, work)
    except Uncertain as error:
        fail(
            tr(f"the connection broke off: {error}", f"la connexion a été coupée : {error}"),
            hint=tr(
                "The letter under way counts as sent. Start anew for the others.",
                "La lettre en cours compte comme envoyée. Relancez pour les autres.",
            ),
        )
    except PostError as error:
        fail(tr(f"the mail server: {error}", f"le serveur de messagerie : {error}"))
    typer.echo(tr(f"{count} letters sent.", f"{count} lettres envoyées."))
    _tell_gone(gone)
    if refused:
        fail(tr("not accepted: ", "pas acceptées : ") + "; ".join(refused))


async def _send(store: Store, post: Post, letters: Sequence[Written]) -> tuple[int, list[str]]:
    count, refused, by = 0, [], operating_user()

    async def take_back(person: str, inviters: Sequence[AccountAddress]) -> None:
        now_ms = SystemClock().now_ms()
        await store.take_back(person, inviters, now_ms=now_ms, actor=by)

    for one in letters:
        # Noted first: if this ends half-way, one letter too few is sent, and never one twice.
        inviters = await store.hand_over(one.person, now_ms=SystemClock().now_ms(), actor=by)
        if not inviters:
            continue
        try:
            await asyncio.to_thread(post.send, one)
        except NotAccepted as error:
            await take_back(one.person, inviters)
            refused.append(f"{one.name} <{one.mailbox}>: {error}")
        except Uncertain:
            raise
        except PostError:
            await take_back(one.person, inviters)
            raise
        else:
            count += 1
    return count, refused


@app.command(
    "refuse",
    help=tr(
        "Never invite these people again, as they asked. Only a keyed hash of them is kept.\n\n"
        "Example: miss-server invitations refuse 810000000017",
        "Ne plus jamais inviter ces personnes, à leur demande. Seule une empreinte est gardée.\n\n"
        "Exemple : miss-server invitations refuse 810000000017",
    ),
)
def refuse(person: _Person, database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Never invite people again."""
    chosen = settings(database=database, domain=domain)

    async def work(store: Store) -> int:
        now_ms, by = SystemClock().now_ms(), operating_user()
        return sum([await store.refuse_invitations(one, now_ms=now_ms, actor=by) for one in person])

    dropped = with_store(chosen, work)
    typer.echo(
        tr(
            f"Noted. {dropped} invitations that waited are dropped.",
            f"Noté. {dropped} invitations en attente sont abandonnées.",
        )
    )


@app.command(
    "allow",
    help=tr(
        "Let people be invited again who had asked not to be.\n\n"
        "Example: miss-server invitations allow 810000000017",
        "Permettre à nouveau d'inviter des personnes qui l'avaient refusé.\n\n"
        "Exemple : miss-server invitations allow 810000000017",
    ),
)
def allow(person: _Person, database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Let people be invited again."""
    chosen = settings(database=database, domain=domain)

    async def work(store: Store) -> list[str]:
        now_ms, by = SystemClock().now_ms(), operating_user()
        return [
            one for one in person if not await store.allow_invitations(one, now_ms=now_ms, actor=by)
        ]

    unknown = with_store(chosen, work)
    if unknown:
        names = ", ".join(unknown)
        fail(tr(f"had not refused: {names}", f"n'avaient pas refusé : {names}"))
    typer.echo(tr("Noted.", "Noté."))


async def _all(
    store: Store, chosen: Settings, text: Text
) -> tuple[list[Letter], list[Written], list[str]]:
    letters: list[Letter] = []
    while more := await store.letters(after=letters[-1].person if letters else "", limit=PAGE):
        letters += more
    now_ms = SystemClock().now_ms()
    written, gone = await write(store, letters, text, domain=chosen.domain, now_ms=now_ms)
    return letters, written, gone


def _words(chosen: Settings, language: Language | None, given: Path | None) -> Text:
    try:
        return text_of(letters_language(chosen, language), given)
    except TextError as error:
        fail(tr(f"the letter's text: {error}", f"le texte de la lettre : {error}"))


def _tell_gone(gone: Sequence[str]) -> None:
    if gone:
        names = ", ".join(gone)
        typer.echo(
            tr(
                f"No longer in the directory, so without a letter: {names}",
                f"Plus dans l'annuaire, donc sans lettre : {names}",
            )
        )
