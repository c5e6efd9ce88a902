"""What all commands share: the store, running a client, and telling failures."""

import asyncio
import os
import platform
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import segno
import typer
from platformdirs import user_data_path
from rich.console import Console

from miss_client.cli import dates
from miss_client.client import Client
from miss_client.errors import ClientError, RefusedByServer, Unreachable, explain
from miss_client.store import Store
from miss_client.words import LANGUAGE, tr
from miss_protocol.directory import Entry, Source, lacks_number
from miss_protocol.errors import Malformed, MissError
from miss_protocol.ids import AccountAddress, parse_address

T = TypeVar("T")

FAILED, WAITING, INTERRUPTED = 1, 3, 130
STORE_NAME = "device.miss"
DATES_PATIENCE = 3.0
"""Seconds for the server to say of which day the directory is: names are shown without."""

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help=tr(
            "The file with this device's keys and messages (else MISS_HOME, else your data folder).",
            "Le fichier des clés et messages de cet appareil (sinon MISS_HOME, sinon votre dossier "
            "de données).",
        ),
        show_default=False,
    ),
]

NameOption = Annotated[
    str, typer.Option(help=tr("What to call this device.", "Le nom de cet appareil."))
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-charter",
        help=tr("The charter was read and is accepted.", "La charte a été lue et acceptée."),
    ),
]
PassphraseOption = Annotated[
    bool,
    typer.Option(
        "--passphrase",
        help=tr(
            "Seal the store with a passphrase instead of a key file.",
            "Protéger le fichier par une phrase de passe au lieu d'un fichier de clé.",
        ),
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        envvar="MISS_SERVER",
        help=tr("The server's URL.", "L'URL du serveur."),
        show_default=False,
    ),
]


def store_path(chosen: Path | None) -> Path:
    """Which file: the option, else MISS_HOME, else the user's data folder."""
    if chosen is not None:
        return chosen
    home = os.environ.get("MISS_HOME")
    return (Path(home) if home else user_data_path("miss")) / STORE_NAME


def passphrase(path: Path) -> str | None:
    """What opens this store: MISS_PASSPHRASE, else asked for, else nothing (a key file does)."""
    if not Store.wants_passphrase(path):
        return None
    given = os.environ.get("MISS_PASSPHRASE")
    if given is not None:
        return given
    prompt = tr("Passphrase", "Phrase de passe")
    return str(typer.prompt(prompt, hide_input=True, err=True))


def open_store(chosen: Path | None) -> Store:
    """Open the device's store; raises `ClientError`."""
    path = store_path(chosen)
    return Store.open(path, passphrase=passphrase(path))


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine; expected failures become a sentence and an exit code.

    Ctrl-C cancels at an await, and no transaction has one inside: the store is whole at any moment.
    """

    async def whole() -> T:
        return await work()

    try:
        return asyncio.run(whole())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except MissError as error:
        fail(error)


def with_client(chosen: Path | None, work: Callable[[Client], Awaitable[T]]) -> T:
    """Open the device's client, without connecting it, for one piece of work."""

    async def whole() -> T:
        store = open_store(chosen)
        try:
            client = Client.open(store)
        except BaseException:
            store.close()
            raise
        try:
            return await work(client)
        finally:
            await client.close()

    return run(whole)


def fail(error: MissError) -> NoReturn:
    """Tell a failure with its code and what to do next, and end."""
    code = error.trouble.value.wire if isinstance(error, ClientError) else ""
    if not code:
        found = getattr(error, "code", None)
        code = found.wire if found is not None and hasattr(found, "wire") else "error"
    err.print(clean(f"miss: {explain(error, LANGUAGE)} [{code}]"))
    raise typer.Exit(WAITING if isinstance(error, Unreachable) else FAILED)


def stop(text: str, *, code: int = FAILED) -> NoReturn:
    """Tell why a command ends here."""
    err.print(clean(f"miss: {text}"))
    raise typer.Exit(code)


def device_name(chosen: str) -> str:
    """What a new device is called: as its user says, else as its machine is."""
    return chosen or platform.node()[:60] or "miss"


def show_code(text: str) -> None:
    """Show a text as a QR code, on a terminal."""
    if sys.stdout.isatty():
        segno.make(text, micro=False).terminal(sys.stdout, compact=True)


def clean(text: str) -> str:
    """Text of others for this terminal: without what could move its cursor or hide its words."""
    return "".join(
        c
        if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def indented(text: str) -> str:
    """Text of others under a line of ours: a line break in it must not begin what looks like the
    next message, of another sender."""
    return text.replace("\n", "\n    | ")


def described(entry: Entry) -> str:
    """A directory entry in one line."""
    name = " ".join(part for part in (entry.title, entry.given, entry.name) if part)
    told = (entry.profession, *entry.specialities, entry.category)
    what = ", ".join(part for part in told if part)
    if entry.attested_by:
        names = ", ".join(entry.attested_by)
        what += tr(f" (attested by {names})", f" (attesté par {names})")
    elif entry.kind == "person" and lacks_number(entry.person) and not entry.part_of:
        what += tr(" (attested by nobody)", " (attestation : aucune)")
    if entry.other_names:
        others = ", ".join(entry.other_names)
        what += tr(f" (another source says: {others})", f" (une autre source dit : {others})")
    where = entry.places[0].city if entry.places else ""
    return clean(" · ".join(part for part in (name, what, where) if part))


def dated(client: Client, sources: Sequence[Source]) -> str:
    """A line with the dates of what the directory says; empty before its first import."""
    return clean(dates.line_of(sources, now_ms=client.vault.clock()))


async def ask_dates(client: Client) -> None:
    """Print the line for names that came without it, or that nobody can say it now."""
    line = tr(
        "Directory: its date is not known now.", "Annuaire : sa date n'est pas connue actuellement."
    )
    with suppress(ClientError, RefusedByServer, TimeoutError):
        async with asyncio.timeout(DATES_PATIENCE):
            line = dated(client, (await client.sources()).sources)
    if line:
        out.print(line)


async def resolve(client: Client, who: str) -> AccountAddress:
    """The one reachable account that `who` names: an address, or words of the directory.

    Ends the command with a list of candidates if there are several.
    """
    try:
        return parse_address(who)
    except Malformed:
        pass
    page = await client.search(who)
    found = [e for e in page.entries if e.account is not None and e.account != client.account]
    if len(found) == 1 and page.next is None and found[0].account is not None:
        return parse_address(found[0].account)
    if found:
        for entry in found:
            out.print(f"{clean(entry.account or '')}  {described(entry)}")
        out.print(dated(client, page.sources))
        stop(
            tr(
                "Several people fit. Add a word, or use one of these addresses.",
                "Plusieurs personnes correspondent. Ajoutez un mot ou prenez une de ces adresses.",
            ),
            code=WAITING,
        )
    for entry in page.entries:
        out.print(f"{tr('not on MiSS', 'pas sur MiSS')}  {described(entry)}")
    if page.entries:
        out.print(dated(client, page.sources))
    stop(
        tr(
            "Nobody who can be reached on MiSS fits. Try other words: miss search WORDS",
            "Personne de joignable sur MiSS ne correspond. Essayez d'autres mots : miss search MOTS",
        )
    )
