"""`miss`: what a person types. Each command's file has its noun.

Other sub-commands are mounted on `app` (`app.add_typer`, `app.command`). Exit codes: 0 done;
1 refused or failed; 2 wrong usage; 3 nothing failed, but it has to wait for the network or for a
choice; 130 interrupted.
"""

import typer

from miss_client.cli import (
    admin,
    attestations,
    chat,
    contacts,
    demo,
    devices,
    enrol,
    identity,
    invite,
    listen,
    meeting,
    recover,
    reports,
    sandbox,
    search,
    send,
    status,
)
from miss_client.words import tr

app = typer.Typer(
    name="miss",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=tr(
        "Write to colleagues: instant messages between clinicians, end-to-end encrypted.\n\n"
        "Begin with: miss enrol CODE --server URL",
        "Écrire à des confrères : messagerie instantanée entre soignants, chiffrée de bout en "
        "bout.\n\nPour commencer : miss enrol CODE --server URL",
    ),
)
app.command("enrol", help=enrol.HELP)(enrol.enrol)
app.command("identity", help=identity.HELP)(identity.identity)
app.command("recover", help=recover.HELP)(recover.recover)
app.command("veto", help=recover.VETO_HELP)(recover.veto)
app.command("search", help=search.HELP)(search.search)
app.command("send", help=send.HELP)(send.send)
app.command("listen", help=listen.HELP)(listen.listen)
app.command("chat", help=chat.HELP)(chat.chat)
app.command("status", help=status.HELP)(status.status)
app.command("attest", help=attestations.ATTEST_HELP)(attestations.attest)
app.command("attestations", help=attestations.LIST_HELP)(attestations.attestations)
app.command("requests", help=meeting.REQUESTS_HELP)(meeting.requests)
app.command("accept", help=meeting.ACCEPT_HELP)(meeting.accept)
app.command("decline", help=meeting.DECLINE_HELP)(meeting.decline)
app.command("block", help=meeting.BLOCK_HELP)(meeting.block)
app.command("unblock", help=meeting.UNBLOCK_HELP)(meeting.unblock)
app.command("reach", help=meeting.REACH_HELP)(meeting.reach)
app.command("report", help=reports.REPORT_HELP)(reports.report)
app.command("reports", help=reports.LIST_HELP)(reports.reports)
app.command("invite", help=invite.INVITE_HELP)(invite.invite)
app.command("wishes", help=invite.WISHES_HELP)(invite.wishes)
app.command("demo", help=demo.HELP)(demo.demo)
app.command("sandbox", help=sandbox.HELP)(sandbox.sandbox)
app.add_typer(devices.app, name="devices")
app.add_typer(admin.app, name="admin")
app.add_typer(contacts.app, name="contacts")


def main() -> None:
    """The entry point of `miss`."""
    app()
