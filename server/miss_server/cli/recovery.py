"""`miss-server recovery`: an account whose devices are all lost begins anew."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from miss_protocol import limits
from miss_protocol.errors import Malformed, Refused
from miss_protocol.ids import AccountAddress, parse_address
from miss_server.admin.codes import new_code
from miss_server.admin.letters import Letter, letters_page
from miss_server.cli.bulk_codes import private_file
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
from miss_server.cli.times import time_of
from miss_server.relay.clock import SystemClock
from miss_server.storage.accounts import Account
from miss_server.storage.code_letters import shown_code
from miss_server.stores import Store
from miss_server.words import LANGUAGE, tr

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Accounts whose devices are all lost.\n\nExample: miss-server recovery list",
        "Comptes dont tous les appareils sont perdus.\n\nExemple : miss-server recovery list",
    ),
)

_Account = Annotated[str, typer.Argument(help=tr("The account's address.", "L'adresse du compte."))]


@app.command(
    "code",
    help=tr(
        "Make a recovery code for an account, after its person has shown anew who they are: as you "
        "would for a passport, not by telephone. The account gets new keys once the delay is over "
        "(MISS_RECOVERY_HOURS); meanwhile any of its devices can object, and correspondents see it."
        "\n\nExample: miss-server recovery code ADDRESS --letter letter.html",
        "Créer un code de récupération pour un compte, après que son titulaire a de nouveau prouvé "
        "qui il est : comme pour un passeport, pas par téléphone. Le compte reçoit de nouvelles clés "
        "au bout du délai (MISS_RECOVERY_HOURS) ; d'ici là, chacun de ses appareils peut s'y opposer "
        "et ses correspondants en sont avertis.\n\n"
        "Exemple : miss-server recovery code ADRESSE --letter lettre.html",
    ),
)
def code(
    account: _Account,
    letter: Annotated[
        Path | None,
        typer.Option(help=tr("Write a letter instead (HTML).", "Écrire plutôt une lettre (HTML).")),
    ] = None,
    language: LanguageOption = None,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Make a recovery code."""
    chosen, address = settings(database=database, domain=domain), _address(account)
    made = new_code()
    now_ms = SystemClock().now_ms()
    expires = now_ms + limits.ENROLMENT_CODE_TTL * 1000

    async def work(store: Store) -> Account | None:
        try:
            await store.add_recovery_code(
                address, made, expires_ms=expires, now_ms=now_ms, actor=operating_user()
            )
        except Refused as refused:
            fail(refused.code.text(LANGUAGE), hint=_HINT)
        return await store.find(address)

    with ExitStack() as files:
        page = files.enter_context(private_file(letter)) if letter else None
        found = with_store(chosen, work)
        name = found.name if found else ""
        if page is not None:
            one = Letter(name, shown_code(made), expires, "recover")
            page.write(
                letters_page(
                    [one],
                    domain=chosen.domain,
                    server=chosen.address,
                    language=letters_language(chosen, language),
                )
            )
            return
    typer.echo(
        tr(
            f"{name} <{address}>  recovery code {shown_code(made)}  until {time_of(expires)}",
            f"{name} <{address}>  code de récupération {shown_code(made)}  jusqu'au "
            f"{time_of(expires)}",
        )
    )


_HINT = tr(
    "Look the address up: miss-server accounts. Without any device yet: miss-server enrol-code.",
    "Cherchez l'adresse : miss-server accounts. Sans appareil encore : miss-server enrol-code.",
)


@app.command(
    "list",
    help=tr(
        "List the recoveries that wait for their delay.\n\nExample: miss-server recovery list",
        "Lister les récupérations dont le délai court.\n\nExemple : miss-server recovery list",
    ),
)
def listing(database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """List recoveries."""
    found = with_store(settings(database=database, domain=domain), lambda store: store.recoveries())
    for one in found:
        typer.echo(
            tr(
                f"{one.account}  begun {time_of(one.begun_ms)}  done {time_of(one.due_ms)}",
                f"{one.account}  début {time_of(one.begun_ms)}  fin {time_of(one.due_ms)}",
            )
        )


@app.command(
    "cancel",
    help=tr(
        "End a recovery before its delay is over: the account stays as it is.\n\n"
        "Example: miss-server recovery cancel ADDRESS",
        "Mettre fin à une récupération avant son délai : le compte reste tel qu'il est.\n\n"
        "Exemple : miss-server recovery cancel ADRESSE",
    ),
)
def cancel(account: _Account, database: DatabaseOption = None, domain: DomainOption = None) -> None:
    """Cancel a recovery."""
    address = _address(account)

    async def work(store: Store) -> None:
        try:
            now_ms = SystemClock().now_ms()
            await store.veto_recovery(address, None, now_ms=now_ms, actor=operating_user())
        except Refused as refused:
            fail(refused.code.text(LANGUAGE))

    with_store(settings(database=database, domain=domain), work)
    typer.echo(tr("Cancelled.", "Annulée."))


def _address(text: str) -> AccountAddress:
    try:
        return parse_address(text)
    except Malformed:
        fail(
            tr(f"{text} is no account's address", f"{text} n'est pas l'adresse d'un compte"),
            hint=_HINT,
        )
