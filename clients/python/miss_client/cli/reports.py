"""`miss report` and `miss reports`: a received message, shown to the operator."""

from datetime import datetime
from enum import Enum
from hashlib import blake2b
from typing import Annotated

import typer

from miss_client import reporting
from miss_client.cli.common import WAITING, StoreOption, clean, out, stop, with_client
from miss_client.cli.listen import line_of
from miss_client.client import Client
from miss_client.errors import ClientError, Trouble
from miss_client.records import Message
from miss_client.words import tr
from miss_protocol import limits
from miss_protocol.identity import message as messages
from miss_protocol.reports import Reason

REPORT_HELP = tr(
    "Show a message that you received to the operator, who then can read it: this one and no other. "
    "Without MESSAGE, list the last ones with their numbers.\n\n"
    "Example: miss report 3f0c9a52 --reason unsolicited",
    "Montrer à l'opérateur un message reçu, qu'il pourra alors lire : celui-là et aucun autre. "
    "Sans MESSAGE, lister les derniers avec leurs numéros.\n\n"
    "Exemple : miss report 3f0c9a52 --reason unsolicited",
)
LIST_HELP = tr(
    "List the messages that you reported, and whether the operator is done with them.\n\n"
    "Example: miss reports",
    "Lister les messages que vous avez signalés, et si l'opérateur les a traités.\n\n"
    "Exemple : miss reports",
)

SHOWN = 20
SHORT = 8
"""Digits of a number that a list shows; any beginning that fits one message is taken."""


class Why(Enum):
    """`Reason`, as an option takes it."""

    value: Reason

    ABUSE = "abuse"
    IMPERSONATION = "impersonation"
    UNSOLICITED = "unsolicited"
    OTHER = "other"


_REASONS: dict[Reason, str] = {
    "abuse": tr("insults or threats", "injures ou menaces"),
    "impersonation": tr("not who they say", "usurpation d'identité"),
    "unsolicited": tr("advertising or a questionnaire", "publicité ou questionnaire"),
    "other": tr("other", "autre"),
}


def report(
    message: Annotated[
        str | None,
        typer.Argument(
            metavar="[MESSAGE]",
            help=tr("The beginning of its number.", "Le début de son numéro."),
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        Why | None,
        typer.Option(
            help=tr("Why; asked for if it is left out.", "Le motif ; demandé s'il manque.")
        ),
    ] = None,
    note: Annotated[
        str,
        typer.Option(
            help=tr(
                "What the operator should know besides; nothing about a patient.",
                "Ce que l'opérateur doit savoir de plus ; rien sur un patient.",
            )
        ),
    ] = "",
    yes: Annotated[
        bool,
        typer.Option("--yes", help=tr("Do not ask again.", "Ne pas demander confirmation.")),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Report a message."""
    words = " ".join(note.split())
    if len(words) > limits.REPORT_NOTE_MAX or not words.isprintable():
        most = limits.REPORT_NOTE_MAX
        raise typer.BadParameter(
            tr(f"at most {most} characters", f"au plus {most} caractères"), param_hint="--note"
        )

    async def work(client: Client) -> None:
        if message is None:
            _list_received(client)
            return
        chosen = _find(client, message)
        reporting.check_reportable(chosen)
        _explain(client, chosen)
        why: Reason = (reason or _ask()).value
        if not yes and not typer.confirm(
            tr("Show it to the operator?", "Le montrer à l'opérateur ?")
        ):
            stop(tr("Nothing was shown.", "Rien n'a été montré."))
        await reporting.report(client.vault, client.calls, chosen, why, note=words)
        out.print(
            tr(
                "The operator has it. miss reports tells when it is closed. To get nothing more from "
                f"them: miss block {chosen.account}",
                "L'opérateur l'a reçu. miss reports dira quand il sera clos. Pour ne plus rien recevoir "
                f"de cette personne : miss block {chosen.account}",
            )
        )

    with_client(store, work)


def reports(store: StoreOption = None) -> None:
    """List reports."""

    async def work(client: Client) -> None:
        found = await reporting.reports(client.calls)
        texts: dict[tuple[bytes, bytes], str] = {
            (one.device, messages.decode(one.signed).id): one.text
            for one in client.messages()
            if one.signed
        }
        for one in found:
            state = tr("open", "ouvert")
            if one.closed is not None:
                state = tr(f"closed {_day(one.closed)}", f"clos le {_day(one.closed)}")
            text = texts.get((one.device, one.message), "").replace("\n", " ")[:40]
            who = client.contacts.name(one.account)
            out.print(
                clean(f"{_day(one.filed)}  {who}  {_REASONS[one.reason]}  {state}  {text}".rstrip())
            )
        if not found:
            out.print(tr("None.", "Aucun."))

    with_client(store, work)


def _explain(client: Client, message: Message) -> None:
    """Say exactly what leaves this device, and to whom."""
    name, others = clean(client.contacts.name(message.account)), len(message.to)
    out.print(line_of(client, message))
    out.print("")
    out.print(
        tr(
            "The operator of this service will read this message: its text, that "
            f"{name} wrote it, its {others} recipient(s) and its time; and who you are, your reason and "
            "your note. Nothing else of what you two wrote, and no key. It stays there until some time "
            "after the operator has closed the report. The server does not tell "
            f"{name}, who can guess it from what follows.",
            "L'opérateur de ce service pourra lire ce message : son texte, le fait que "
            f"{name} l'a écrit, ses {others} destinataire(s) et sa date ; et qui vous êtes, votre motif et "
            "votre note. Rien d'autre de vos échanges, et aucune clé. Il y reste jusque quelque temps "
            "après la clôture du signalement par l'opérateur. Le serveur n'en dit rien à "
            f"{name}, qui peut le deviner à ce qui suivra.",
        )
    )
    out.print("")


def _ask() -> Why:
    for why in Why:
        out.print(f"  {why.value}: {_REASONS[why.value]}")
    while True:
        typed = str(typer.prompt(tr("Reason", "Motif"))).strip()
        if typed in _REASONS:
            return Why(typed)


def _number(message: Message) -> str:
    """Not its id alone: a sender could give one id to the messages of two devices."""
    return blake2b(message.device + message.id, digest_size=8).hexdigest()


def _received(client: Client) -> list[Message]:
    return [one for one in client.messages() if not one.own]


def _list_received(client: Client) -> None:
    found = _received(client)[-SHOWN:]
    for one in found:
        out.print(f"{_number(one)[:SHORT]}  {line_of(client, one)}")
    if not found:
        out.print(tr("No message was received here.", "Aucun message reçu ici."))


def _find(client: Client, typed: str) -> Message:
    """The one received message whose number begins so.

    Raises:
        ClientError: no_message.
    """
    beginning = typed.strip().lower()
    found = [one for one in _received(client) if beginning and _number(one).startswith(beginning)]
    if not found:
        raise ClientError(Trouble.NO_MESSAGE)
    if len(found) > 1:
        for one in found:
            out.print(f"{_number(one)}  {line_of(client, one)}")
        stop(tr("Several fit: type more.", "Plusieurs conviennent : précisez."), code=WAITING)
    return found[0]


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%d/%m/%Y %H:%M")
