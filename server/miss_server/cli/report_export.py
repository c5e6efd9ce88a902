"""`miss-server reports export` and `check`: what a report proves, for who has neither server nor database."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from miss_protocol import content as contents
from miss_protocol.errors import MissError, Untrusted
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import message as messages
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.message import InnerMessage
from miss_protocol.ids import parse_address
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
from miss_server.relay.clock import SystemClock
from miss_server.storage.reports import Evidence
from miss_server.stores import Store
from miss_server.words import tr

FORMAT = "MiSS report 1"

EXPORT_HELP = tr(
    "Write what a report proves into a file: the message as it was signed, the certificate of the device, and "
    "the device lists of its account. Whoever has the file can read the message, and check it without this "
    "server (`reports check`). The audit log notes that you exported it.\n\n"
    "Example: miss-server reports export 3f2a91c0 --output report.json",
    "Écrire dans un fichier ce que prouve un signalement : le message tel qu'il a été signé, le certificat de "
    "l'appareil et les listes d'appareils de son compte. Qui a ce fichier peut lire le message, et le vérifier "
    "sans ce serveur (`reports check`). Le journal d'audit note que vous l'avez exporté.\n\n"
    "Exemple : miss-server reports export 3f2a91c0 --output signalement.json",
)
CHECK_HELP = tr(
    "Check an exported report: neither a server nor a database is needed. Status 4: it does not hold.\n\n"
    "Example: miss-server reports check report.json",
    "Vérifier un signalement exporté : ni serveur ni base ne sont nécessaires. Statut 4 : il ne tient pas.\n\n"
    "Exemple : miss-server reports check signalement.json",
)


class Exported(msgspec.Struct):
    """The file. What is signed stands in base64; what the operator says beside it, in `said`."""

    format: str
    account: str
    message: bytes
    certificate: bytes
    rosters: Sequence[bytes]
    """Of the account, from its genesis to the first that lists the device."""
    said: "Said"


class Said(msgspec.Struct):
    """By the operator's word and the reporter's alone. Times are Unix milliseconds."""

    report: str
    reporter: str
    reason: str
    note: str
    received_ms: int
    filed_ms: int
    taken_ms: int | None
    revoked_ms: int | None
    name: str
    person: str | None


def verified(exported: Exported) -> InnerMessage:
    """The message, if its account's device signed it.

    Raises:
        MissError: something does not hold.
    """
    if exported.format != FORMAT:
        raise Untrusted("another format")
    account = parse_address(exported.account)
    certificate = certificates.decode(exported.certificate)
    message = messages.decode(exported.message)
    message.verify(certificate)
    last = rosters.verify_chain(exported.rosters, account=account, known=None)
    listed = last.find(certificate.device)
    if certificate.account != account or listed is None or listed.certificate != certificate:
        raise Untrusted("the account never listed that device")
    if not message.is_for(parse_address(exported.said.reporter)):
        raise Untrusted("the reporter is none of its recipients")
    return message


def export(
    report: ReportArgument,
    output: Annotated[
        Path | None,
        typer.Option(help=tr("Where to; your terminal if not given.", "Où ; sinon, le terminal.")),
    ] = None,
    database: DatabaseOption = None,
    domain: DomainOption = None,
) -> None:
    """Export a report."""
    chosen, now_ms = settings(database=database, domain=domain), SystemClock().now_ms()

    async def work(store: Store) -> tuple[Evidence, Sequence[bytes]]:
        return await store.export_report(
            await id_of(store, report), actor=operating_user(), now_ms=now_ms
        )

    evidence, chain = with_store(chosen, work)
    text = _written(evidence, chain)
    if output is None:
        typer.echo(text)
        return
    try:
        # Nobody else reads it, and a file that is there already stays.
        handle = os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        fail(f"{output}: {error.strerror or error}")


def _written(evidence: Evidence, chain: Sequence[bytes]) -> str:
    filed = evidence.filed
    said = Said(
        report=filed.id,
        reporter=filed.reporter,
        reason=filed.reason,
        note=evidence.note,
        received_ms=filed.received_ms,
        filed_ms=filed.filed_ms,
        taken_ms=evidence.taken_ms,
        revoked_ms=evidence.revoked_ms,
        name=evidence.account_name,
        person=evidence.person,
    )
    made = Exported(FORMAT, filed.account, evidence.signed, evidence.certificate, chain, said)
    return msgspec.json.format(msgspec.json.encode(made), indent=1).decode()


def check(
    file: Annotated[Path, typer.Argument(help=tr("The exported report.", "Le fichier exporté."))],
) -> None:
    """Check an exported report."""
    try:
        exported = msgspec.json.decode(file.read_bytes(), type=Exported)
        message = verified(exported)
        text, kind = contents.shown(contents.decode(message.content))
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    except (msgspec.MsgspecError, MissError) as error:
        fail(
            tr(f"{file} proves nothing: {error}", f"{file} ne prouve rien : {error}"),
            status=EXIT_BROKEN,
        )
    certificate = certificates.decode(exported.certificate)
    typer.echo(
        tr(
            "The signature holds: a device that this account listed wrote it, word for word.",
            "La signature tient : un appareil que ce compte a listé l'a écrit, mot pour mot.",
        )
    )
    for line in (
        tr("Account: ", "Compte : ") + exported.account,
        tr("Device: ", "Appareil : ") + certificate.device.hex(),
        tr("To: ", "À : ") + ", ".join(one.account for one in message.recipients),
        "",
        *(f"  | {line}" for line in (text or f"[{kind}]").split("\n")),
        "",
        tr(
            "By the operator's word alone: who the account is, when the message came, and what is in `said`.",
            "Sur la seule parole de l'opérateur : à qui est le compte, quand le message est arrivé, et ce qui "
            "est dans `said`.",
        ),
    ):
        typer.echo(printable(line))
