"""`miss-server enrol-code`."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from miss_server.admin.codes import IssuedCode, UnknownPerson, UnvouchedPerson, issue_code
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    fail,
    operating_user,
    settings,
)
from miss_server.cli.stores import with_store
from miss_server.relay.clock import SystemClock
from miss_server.stores import Store
from miss_server.words import tr

HELP = tr(
    "Make an enrolment code for people of the directory, by national identifier.\n\n"
    "Hand each code to its person only. It works once, for fourteen days.\n\n"
    "Example: miss-server enrol-code 810000000017",
    "Créer un code d'inscription pour des personnes de l'annuaire, par identifiant national.\n\n"
    "Ne remettez chaque code qu'à son titulaire. Il sert une fois, pendant quatorze jours.\n\n"
    "Exemple : miss-server enrol-code 810000000017",
)


def enrol_code(
    person: Annotated[
        list[str],
        typer.Argument(
            help=tr(
                "National identifiers: a type digit, then the number (8 + RPPS).",
                "Identifiants nationaux : un chiffre de type puis le numéro (8 + RPPS).",
            )
        ),
    ],
    database: DatabaseOption = None,
    domain: DomainOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help=tr("One JSON object a line.", "Un objet JSON par ligne."))
    ] = False,
) -> None:
    """Make enrolment codes."""
    chosen = settings(database=database, domain=domain)

    unknown: list[str] = []
    unvouched: list[str] = []

    async def work(store: Store) -> list[IssuedCode]:
        clock, issued = SystemClock(), []
        for one in dict.fromkeys(person):
            try:
                issued.append(
                    await issue_code(
                        store,
                        store,
                        store,
                        one,
                        domain=chosen.domain,
                        clock=clock,
                        actor=operating_user(),
                    )
                )
            except UnknownPerson:
                unknown.append(one)
            except UnvouchedPerson:
                unvouched.append(one)
        return issued

    for one in with_store(chosen, work):
        if as_json:
            fields = {"person": one.person, "name": one.name, "account": one.account}
            typer.echo(json.dumps({**fields, "code": one.code, "expires_ms": one.expires_ms}))
        else:
            until = datetime.fromtimestamp(one.expires_ms / 1000, UTC).date().isoformat()
            typer.echo(
                tr(
                    f"{one.name} ({one.person})  code {one.code}  until {until}",
                    f"{one.name} ({one.person})  code {one.code}  jusqu'au {until}",
                )
            )
    if unvouched:
        names = ", ".join(unvouched)
        told = tr(
            f"without a national number, and nobody vouches for them: {names}",
            f"sans numéro national, et personne ne les atteste : {names}",
        )
        hint = tr(
            "Name their organisation in the list that you import (server/DIRECTORY.md), import the "
            "establishments if theirs is missing, or have a practitioner attest them: miss attest",
            "Indiquez leur rattachement dans la liste importée (server/DIRECTORY.md), importez les "
            "établissements si le leur manque, ou faites-les attester par un praticien : miss attest",
        )
        if not unknown:
            fail(told, hint=hint)
        typer.echo(f"{told}\n{hint}", err=True)
    if unknown:
        # Last, so that the codes that were made, and ended earlier ones, are told all the same.
        names = ", ".join(unknown)
        fail(
            tr(f"not in the directory: {names}", f"pas dans l'annuaire : {names}"),
            hint=tr(
                "Import them first: miss-server directory import FILE",
                "Importez-les d'abord : miss-server directory import FICHIER",
            ),
        )
