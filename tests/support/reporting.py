"""Messages that somebody reports, in tests: signed by real devices."""

import os
import secrets
from typing import Any

from miss_protocol import content as contents
from miss_protocol.content import Content, Text
from miss_protocol.crypto.endpoint import Endpoint
from miss_protocol.identity import message as inner
from miss_protocol.identity.message import InnerMessage, Recipient
from miss_protocol.ids import AccountAddress, MessageId
from miss_protocol.reports import ReportMade
from miss_server.storage.reports import Filing, Signer
from tests.support.devices import NOW, Person

TEXT = "Questionnaire de thèse, à renvoyer dès ce soir."


def written(
    by: Endpoint,
    *to: Person,
    said: Content | str = TEXT,
    sent_ms: int = NOW,
    id: bytes | None = None,
) -> InnerMessage:
    """A message as a device signs it; also for recipients to whom nothing is sent."""
    content = Text(text=said) if isinstance(said, str) else said
    return inner.compose(
        by.signing_key,
        by.certificate,
        message=MessageId(id or os.urandom(16)),
        conversation=b"c" * 16,
        sent_ms=sent_ms,
        recipients=[Recipient.of(person.roster) for person in to],
        content=contents.encode(content),
        log_head=b"",
    )


def made(shown: InnerMessage, by: Endpoint, received: int, **fields: Any) -> ReportMade:
    """The body of a report."""
    values: dict[str, Any] = {
        "message": shown.encode(),
        "account": by.certificate.account,
        "device": by.certificate.device,
        "reason": "unsolicited",
        "received": received,
    }
    return ReportMade(**(values | fields))


def filing(by: Person, reporter: AccountAddress, **fields: Any) -> Filing:
    """A report of a new message, as it is kept."""
    message = written(by.device, by)
    values: dict[str, Any] = {
        "id": secrets.token_hex(8),
        "reporter": reporter,
        "signer": Signer(by.device.certificate, None),
        "message": message.id,
        "signed": message.encode(),
        "reason": "unsolicited",
        "note": "Troisième fois.",
        "received_ms": NOW - 1,
    }
    return Filing(**(values | fields))
