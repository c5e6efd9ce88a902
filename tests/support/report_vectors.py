"""The vectors of reports: bodies of the call, and what a server says to each."""

from dataclasses import replace
from typing import Any, Protocol

import msgspec
from nacl.signing import SigningKey

from miss_protocol import content as contents
from miss_protocol import limits
from miss_protocol.content import Text
from miss_protocol.identity import message as inner
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.message import InnerMessage, Recipient
from miss_protocol.identity.roster import Roster
from miss_protocol.ids import AccountAddress, MessageId
from miss_protocol.reports import Reason, ReportMade

NOW = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000


class Device(Protocol):
    """Who signs."""

    key: SigningKey
    certificate: DeviceCertificate


def message(
    by: Device, *to: Recipient, sent_ms: int = NOW, text: str = "Achetez !"
) -> InnerMessage:
    """A signed message."""
    return inner.compose(
        by.key,
        by.certificate,
        message=MessageId(b"reported message"),
        conversation=b"a conversation 1",
        sent_ms=sent_ms,
        recipients=to,
        content=contents.encode(Text(text=text)),
        log_head=b"",
    )


def body(
    shown: InnerMessage | bytes,
    by: DeviceCertificate,
    *,
    reason: Reason = "unsolicited",
    received: int = NOW + 1_000,
    note: str = "",
) -> str:
    """The body of a report, as it goes over the wire."""
    made = ReportMade(
        shown if isinstance(shown, bytes) else shown.encode(),
        by.account,
        by.device,
        reason,
        received,
        note,
    )
    return msgspec.json.encode(made).decode()


def report_vectors(
    chain: list[Roster], phone: Device, tablet: Device, reporter: AccountAddress
) -> Any:
    """What a server answers to reports by `reporter`, that holds `chain`, whose last version removed
    `phone`."""
    whom = Recipient(reporter, 1, b"\7" * 32)
    good = message(tablet, whom, Recipient.of(chain[-1]))
    altered = replace(good, content=contents.encode(Text(text="Achetez deux !")))
    old, removed = message(tablet, whom, sent_ms=0), message(phone, whom)
    longest = (limits.TTL_MAX + limits.CLOCK_SKEW_MAX) * 1000
    by, revoked_ms = tablet.certificate, NOW - DAY_MS
    late = revoked_ms + longest

    def case(why: str, text: str, now_ms: int = NOW + 2_000) -> dict[str, Any]:
        return {"why": why, "body": text, "now_ms": now_ms}

    def invalid(why: str, text: str, error: str, now_ms: int = NOW + 2_000) -> dict[str, Any]:
        return case(why, text, now_ms) | {"error": error}

    over = NOW + limits.REPORT_AGE_MAX * 1000
    plain = body(good, by)
    return {
        "account": by.account,
        "rosters": [one.encode() for one in chain],
        "revoked": [{"device": phone.certificate.device, "at_ms": revoked_ms}],
        "reporter": reporter,
        "valid": [
            case("a message to two accounts", plain),
            case(
                "with a note",
                body(good, by, reason="abuse", note="Troisième fois, à 3 h du matin."),
            ),
            case("the sender signed a time long ago, which decides nothing", body(old, by)),
            case("as old as it may be", body(good, by, received=NOW), over),
            case(
                "of a removed device, out of a mailbox where it had waited",
                body(removed, phone.certificate, received=late),
                late,
            ),
        ],
        "invalid": [
            invalid("other words than were signed", body(altered, by), "untrusted"),
            invalid("another device than signed", body(good, phone.certificate), "untrusted"),
            invalid(
                "signed by another device than it names",
                body(replace(removed, sender=by.id), by),
                "untrusted",
            ),
            invalid(
                "of a removed device, after its messages had ended",
                body(removed, phone.certificate, received=late + 1),
                "untrusted",
                late + 1,
            ),
            invalid(
                "for others",
                body(message(tablet, Recipient.of(chain[-1])), by),
                "not_reportable",
            ),
            invalid(
                "named as the reporter's own", plain.replace(by.account, reporter), "not_reportable"
            ),
            invalid(
                "too old",
                body(good, by, received=NOW),
                "report_too_old",
                over + 1,
            ),
            invalid(
                "yet to come",
                body(good, by, received=NOW + limits.CLOCK_SKEW_MAX * 1000 + 1),
                "malformed",
                NOW,
            ),
            invalid("bytes left over", body(good.encode() + b"\0", by), "malformed"),
            invalid("a reason that is none", plain.replace("unsolicited", "dislike"), "malformed"),
            invalid("two lines in the note", body(good, by, note="un\ndeux"), "malformed"),
            invalid(
                "a note that is too long",
                body(good, by, note="x" * (limits.REPORT_NOTE_MAX + 1)),
                "malformed",
            ),
        ],
    }
