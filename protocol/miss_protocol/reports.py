"""Reports: a received message that its reader shows to the operator. The bodies of the calls, and what
must hold of a message that is shown. Spec: 09-standing §3; rule E4.

Nothing else is shown: the message was signed by the device that wrote it, and names those it was for.
A server takes a report in this order: `read`, then it looks up the certificate of `device` in the
rosters that it holds, then `check_signer`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, Refused, Untrusted
from miss_protocol.frames import Address, Counter, Id16
from miss_protocol.identity import message as messages
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.message import InnerMessage
from miss_protocol.ids import AccountAddress

Reason = Literal["abuse", "impersonation", "unsolicited", "other"]
State = Literal["open", "closed"]

Signed = Annotated[bytes, Meta(max_length=limits.BODY_MAX)]
Note = Annotated[str, Meta(max_length=limits.REPORT_NOTE_MAX, pattern=r"^[^\u0000-\u001f\u007f]*$")]


class ReportMade(Struct):
    """`POST /v1/reports`: show a message that this account received. Answered by the `Report`.

    `message` is the inner message as it was signed (04 §9), `account` and `device` who wrote it, and
    `received` when it came, by the reporter's clock, in milliseconds. `note` is in the reporter's words,
    in one line. The operator reads all of it.
    """

    message: Signed
    account: Address
    device: Id16
    reason: Reason
    received: Counter
    note: Note = ""


class Report(Struct, frozen=True):
    """A report as its reporter sees it: of which message of which device of whom, when, and whether the
    operator is done with it (`closed`, at that time, else null). What was decided about somebody else
    is not told."""

    message: Id16
    account: Address
    device: Id16
    reason: Reason
    filed: Counter
    state: State
    closed: Counter | None


class ReportsPage(Struct, frozen=True):
    """`GET /v1/reports?cursor=CURSOR`: this account's reports that the server still has, the newest first.

    `next` is given back as `cursor` for the following page, null after the last.
    """

    reports: tuple[Report, ...]
    next: str | None


def read(made: ReportMade, reporter: AccountAddress, *, now_ms: int) -> InnerMessage:
    """What a report shows, if its reporter may show it. Its signer is not checked: `check_signer` next.

    The time that the sender signed decides nothing: whoever wished to be beyond reports would sign
    an old one.

    Raises:
        Malformed: it is no inner message, or it is said to have come in the future.
        Refused: `not_reportable` if somebody else received it, or the reporter wrote it;
            `report_too_old` if it came before `limits.REPORT_AGE_MAX`.
    """
    message = messages.decode(made.message)
    if made.account == reporter or not message.is_for(reporter):
        raise Refused(Code.NOT_REPORTABLE)
    if made.received > now_ms + limits.CLOCK_SKEW_MAX * 1000:
        raise Malformed("a message that is yet to come")
    if made.received < now_ms - limits.REPORT_AGE_MAX * 1000:
        raise Refused(Code.REPORT_TOO_OLD)
    return message


def check_signer(
    made: ReportMade,
    message: InnerMessage,
    certificate: DeviceCertificate,
    *,
    revoked_ms: int | None,
) -> None:
    """Check that the device wrote the message while its account vouched for it.

    What waited in a mailbox when the device was removed is still delivered, so it counts if it came
    within the longest life of a message after that; later it is the word of who found the device.

    Args:
        certificate: as a verified roster of `made.account` lists `made.device`.
        revoked_ms: when the server took the roster that removed it, by its own clock.

    Raises:
        Untrusted: another device signed, or somebody altered it, or it came too long after the removal.
    """
    message.verify(certificate)
    longest = (limits.TTL_MAX + limits.CLOCK_SKEW_MAX) * 1000
    if revoked_ms is not None and made.received > revoked_ms + longest:
        raise Untrusted("a message of a device that had been removed")
