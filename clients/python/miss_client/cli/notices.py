"""What the account's user should know of it, in words."""

from datetime import UTC, datetime

from miss_client.cli.common import clean
from miss_client.events import AccountRestricted, DevicesEnded, ProofDue
from miss_client.notices import Notice
from miss_client.words import tr

_KINDS = {
    "left": tr(
        "You are no longer in the directory.",
        "Vous n'êtes plus dans l'annuaire.",
    ),
    "unattested": tr(
        "Nobody vouches for you any more: ask a practitioner or your establishment.",
        "Plus personne ne vous atteste : adressez-vous à un praticien ou à votre établissement.",
    ),
}


def text_of(notice: Notice) -> str:
    """A notice as a line, with what its user can do."""
    if isinstance(notice, DevicesEnded):
        numbers = ", ".join(device.hex()[:8] for device in notice.devices)
        return "! " + tr(
            f"Your establishment ended a device of yours ({numbers}). Remove it from your account: "
            "miss devices revoke NUMBER",
            f"Votre établissement a mis fin à un de vos appareils ({numbers}). Retirez-le de votre "
            "compte : miss devices revoke NUMÉRO",
        )
    if isinstance(notice, ProofDue):
        by, ends = _day(notice.renew_by), _day(notice.ends)
        return "! " + tr(
            f"Prove who you are anew by {by}: miss identity --renew. Your account is suspended on {ends} "
            "otherwise.",
            f"Prouvez à nouveau votre identité avant le {by} : miss identity --renew. Sinon, votre "
            f"compte sera suspendu le {ends}.",
        )
    if isinstance(notice, AccountRestricted):
        since = _day(notice.since)
        what = tr(
            f"Since {since} you may write only to people who have answered you. Reason: ",
            f"Depuis le {since}, vous ne pouvez écrire qu'à qui vous a répondu. Motif : ",
        )
        return f"! {what}{clean(notice.reason)}"
    day = datetime.fromtimestamp(notice.due / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if notice.kind == "recovery":
        return "! " + tr(
            f"Somebody asks for new keys for your account, because every device is lost. On {day} "
            "this device will be out. If you did not ask for that: miss veto",
            "Quelqu'un demande de nouvelles clés pour votre compte, tous ses appareils étant "
            f"perdus. Le {day}, cet appareil en sera exclu. Si ce n'est pas vous : miss veto",
        )
    what = _KINDS.get(notice.kind, clean(notice.kind)) + tr(
        f" Your account will be suspended on {day}. Ask your operator if that is wrong.",
        f" Votre compte sera suspendu le {day}. Si c'est une erreur, prévenez votre opérateur.",
    )
    return f"! {what}"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
