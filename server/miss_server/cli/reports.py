"""`miss-server reports`: messages that their readers showed to the operator."""

from collections.abc import Iterator
from typing import Annotated

import typer

from miss_protocol import content as contents
from miss_protocol.errors import Code, MissError, Refused
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import message as messages
from miss_protocol.identity.message import InnerMessage
from miss_protocol.ids import AccountAddress
from miss_protocol.reports import Reason
from miss_server.cli import report_export
from miss_server.cli.common import (
    DatabaseOption,
    DomainOption,
    fail,
    operating_user,
    printable,
    settings,
)
from miss_server.cli.report_ids import EXIT_BROKEN, ReportArgument, id_of
from miss_server.cli.stores import with_store
from miss_server.cli.times import time_of
from miss_server.relay.clock import SystemClock
from miss_server.storage.reports import Evidence, Filed, Outcome
from miss_server.storage.standing import Standing, State
from miss_server.stores import Store
from miss_server.words import LANGUAGE, tr

DAY_MS = 24 * 3600 * 1000
LISTED = 1_000

app = typer.Typer(
    no_args_is_help=True,
    help=tr(
        "Messages that people showed you: list them, read one, close it, export what it proves.\n\n"
        "Example: miss-server reports list",
        "Messages qui vous ont été signalés : les lister, en lire un, le clore, exporter la preuve.\n\n"
        "Exemple : miss-server reports list",
    ),
)

REASONS: dict[Reason, str] = {
    "abuse": tr("insults or threats", "injures ou menaces"),
    "impersonation": tr("not who they say", "usurpation d'identité"),
    "unsolicited": tr("advertising or a questionnaire", "publicité ou questionnaire"),
    "other": tr("other", "autre"),
}
OUTCOMES = {
    Outcome.NONE: tr("nothing", "sans suite"),
    Outcome.WARNED: tr("warned", "averti"),
    Outcome.RESTRICTED: tr("restricted", "restreint"),
    Outcome.SUSPENDED: tr("suspended", "suspendu"),
}


@app.command(
    "list",
    help=tr(
        "List open reports, the oldest first; --closed lists those that are closed and still kept."
        "\n\nExample: miss-server reports list",
        "Lister les signalements ouverts, du plus ancien au plus récent ; --closed liste ceux qui sont"
        " clos et encore conservés.\n\nExemple : miss-server reports list",
    ),
)
def listing(
    closed: Annotated[
        bool, typer.Option("--closed", help=tr("Closed ones.", "Ceux qui sont clos."))
    ] = False,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """List reports."""

    async def work(store: Store) -> tuple[list[Filed], dict[str, str]]:
        found = await store.reports(closed=closed, limit=LISTED)
        people = {one.account for one in found} | {one.reporter for one in found}
        known = [await store.find(address) for address in sorted(people)]
        return found, {one.address: one.name for one in known if one is not None}

    found, names = with_store(settings(database=database, domain=domain), work)
    for one in found:
        about, by = names.get(one.account, ""), names.get(one.reporter, "")
        state = tr("not read yet", "pas encore lu") if one.seen_ms is None else tr("read", "lu")
        if one.closed_ms is not None and one.outcome is not None:
            state = f"{tr('closed', 'clos')} {time_of(one.closed_ms)}, {OUTCOMES[one.outcome]}"
        typer.echo(
            printable(
                f"{one.id}  {time_of(one.filed_ms)}  {REASONS[one.reason]}  "
                + tr(
                    f"about {about} <{one.account}>, shown by {by} <{one.reporter}>",
                    f"sur {about} <{one.account}>, montré par {by} <{one.reporter}>",
                )
                + f"  {state}"
            )
        )
    if not found:
        typer.echo(tr("None.", "Aucun."))


@app.command(
    "show",
    help=tr(
        "Read a report: the message, who wrote it and who shows it. That you read it goes into the audit"
        " log. Status 4: its signature does not hold, somebody changed the database.\n\n"
        "Example: miss-server reports show 3f2a91c0",
        "Lire un signalement : le message, qui l'a écrit et qui le montre. Le journal d'audit note que"
        " vous l'avez lu. Statut 4 : sa signature ne tient pas, quelqu'un a modifié la base.\n\n"
        "Exemple : miss-server reports show 3f2a91c0",
    ),
)
def show(
    report: ReportArgument, database: DatabaseOption = None, domain: DomainOption = None
) -> None:
    """Show a report."""
    chosen, now_ms = settings(database=database, domain=domain), SystemClock().now_ms()

    async def work(store: Store) -> tuple[Evidence, Standing | None]:
        id = await id_of(store, report)
        evidence = await store.show_report(id, actor=operating_user(), now_ms=now_ms)
        return evidence, await store.standing(evidence.filed.account)

    evidence, standing = with_store(chosen, work)
    try:
        message = _verified(evidence)
    except MissError:
        fail(
            tr(
                f"the message of report {evidence.filed.id} is not what was signed",
                f"le message du signalement {evidence.filed.id} n'est pas ce qui a été signé",
            ),
            hint=tr(
                "Keep a copy of the database as it is, and see miss-server audit verify.",
                "Gardez une copie de la base telle quelle et voyez miss-server audit verify.",
            ),
            status=EXIT_BROKEN,
        )
    for line in _lines(evidence, message, standing):
        typer.echo(printable(line))


app.command("export", help=report_export.EXPORT_HELP)(report_export.export)
app.command("check", help=report_export.CHECK_HELP)(report_export.check)


@app.command(
    "close",
    help=tr(
        "Close a report, with what you made of it. That is a note: it restricts nobody. Its content is"
        " deleted some time later (MISS_REPORT_DAYS), and its reporter sees that it is closed.\n\n"
        "Example: miss-server reports close 3f2a91c0 --outcome warned",
        "Clore un signalement, avec la suite donnée. Ce n'est qu'une note : elle ne restreint personne."
        " Son contenu est effacé plus tard (MISS_REPORT_DAYS) et son auteur voit qu'il est clos.\n\n"
        "Exemple : miss-server reports close 3f2a91c0 --outcome warned",
    ),
)
def close(
    report: ReportArgument,
    outcome: Annotated[Outcome, typer.Option(help=tr("What you made of it.", "La suite donnée."))],
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Close a report."""
    chosen, now_ms = settings(database=database, domain=domain), SystemClock().now_ms()
    delete_ms = now_ms + round(chosen.report_days * DAY_MS)

    async def work(store: Store) -> tuple[Filed, Standing | None]:
        id = await id_of(store, report)
        try:
            closed = await store.close_report(
                id, outcome, delete_ms=delete_ms, actor=operating_user(), now_ms=now_ms
            )
        except Refused as refused:
            if refused.code is not Code.OUT_OF_PLACE:
                raise
            fail(
                tr(
                    f"report {id} was closed with another outcome: it stays as it is",
                    f"le signalement {id} a été clos avec une autre suite : il reste tel quel",
                )
            )
        return closed, await store.standing(closed.account)

    closed, standing = with_store(chosen, work)
    typer.echo(tr(f"Closed: {closed.id}", f"Clos : {closed.id}") + f" ({OUTCOMES[outcome]})")
    wanted = {Outcome.RESTRICTED: State.RESTRICTED, Outcome.SUSPENDED: State.SUSPENDED}.get(outcome)
    if wanted is not None and (standing is None or standing.state is not wanted):
        typer.echo(
            tr(
                "The account itself is as it was. To change that:",
                "Le compte, lui, est resté tel qu'il était. Pour le changer :",
            )
        )
        typer.echo(
            _command("restrict" if wanted is State.RESTRICTED else "suspend", closed.account)
        )


def _verified(evidence: Evidence) -> InnerMessage:
    """The message, checked anew: the database is not taken at its word.

    Raises:
        MissError: something was changed.
    """
    message = messages.decode(evidence.signed)
    certificate = certificates.decode(evidence.certificate)
    message.verify(certificate)
    filed = evidence.filed
    if (certificate.account, certificate.device) != (filed.account, filed.device):
        raise Refused(Code.UNTRUSTED)
    if message.id != filed.message or not message.is_for(filed.reporter):
        raise Refused(Code.UNTRUSTED)
    return message


def _lines(evidence: Evidence, message: InnerMessage, standing: Standing | None) -> Iterator[str]:
    filed = evidence.filed
    text, kind = contents.shown(contents.decode(message.content))
    yield tr(
        f"Report {filed.id}, filed {time_of(filed.filed_ms)}: {REASONS[filed.reason]}",
        f"Signalement {filed.id} du {time_of(filed.filed_ms)} : {REASONS[filed.reason]}",
    )
    if filed.outcome is not None:
        yield tr("Closed: ", "Clos : ") + OUTCOMES[filed.outcome]
    yield tr("Shown by: ", "Montré par : ") + f"{evidence.reporter_name} <{filed.reporter}>"
    if evidence.note:
        yield tr("Their note: ", "Sa note : ") + evidence.note
    person = f", {evidence.person}" if evidence.person else ""
    yield tr("Written by: ", "Écrit par : ") + f"{evidence.account_name} <{filed.account}>{person}"
    yield tr("To: ", "À : ") + ", ".join(one.account for one in message.recipients)
    yield ""
    for line in (text or f"[{kind}]").split("\n"):
        yield f"  | {line}"
    yield ""
    yield from _when(evidence, message)
    yield from _account(evidence, standing)
    yield ""
    yield tr("What you can do:", "Ce que vous pouvez faire :")
    for act in ("restrict", "suspend"):
        yield _command(act, filed.account)
    words = "|".join(one.value for one in Outcome)
    yield f"  miss-server reports close {filed.id[:8]} --outcome {words}"


def _when(evidence: Evidence, message: InnerMessage) -> Iterator[str]:
    filed = evidence.filed
    yield tr(
        "The signature holds: this device wrote it, word for word.",
        "La signature tient : cet appareil l'a écrit, mot pour mot.",
    )
    yield tr(
        f"Written {_time(message.sent_ms)} by the sender's clock, received {_time(filed.received_ms)} by "
        "the reporter's (UTC).",
        f"Écrit le {_time(message.sent_ms)} selon l'expéditeur, reçu le {_time(filed.received_ms)} selon "
        "qui le montre (UTC).",
    )
    if evidence.taken_ms is not None:
        yield tr(
            f"This server took it {_time(evidence.taken_ms)}.",
            f"Ce serveur l'a pris en charge le {_time(evidence.taken_ms)}.",
        )
    else:
        yield tr(
            "This server does not know any more when it took it (it forgets after about a week).",
            "Ce serveur ne sait plus quand il l'a pris en charge (il l'oublie en une semaine environ).",
        )
    if evidence.revoked_ms is not None:
        yield tr(
            f"! The device was removed from the account {_time(evidence.revoked_ms)}. Who holds a stolen "
            "one can sign whatever day they like: ask the account's owner.",
            f"! L'appareil a été retiré du compte le {_time(evidence.revoked_ms)}. Qui détient un appareil "
            "volé signe à la date qu'il veut : interrogez le titulaire du compte.",
        )


def _account(evidence: Evidence, standing: Standing | None) -> Iterator[str]:
    if evidence.others:
        yield tr(
            f"Other reports about this account that are kept: {evidence.others}.",
            f"Autres signalements conservés sur ce compte : {evidence.others}.",
        )
    if standing is not None:
        state = {
            State.RESTRICTED: tr("restricted", "restreint"),
            State.SUSPENDED: tr("suspended", "suspendu"),
        }[standing.state]
        yield tr(
            f"The account is {state} since {time_of(standing.since_ms)}: {standing.reason}",
            f"Le compte est {state} depuis le {time_of(standing.since_ms)} : {standing.reason}",
        )


def _command(act: str, account: AccountAddress) -> str:
    why = "MOTIF" if LANGUAGE == "fr" else "REASON"
    return f'  miss-server accounts {act} {account} --reason "{why}"'


def _time(ms: int) -> str:
    """A time that somebody signed may be any number of 64 bits."""
    try:
        return time_of(ms)
    except (ValueError, OverflowError, OSError):
        return str(ms)
