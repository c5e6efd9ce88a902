"""What a message says. Kinds can be added: an unknown one is shown by its fallback text.

Encoded as a msgpack map with the tag `kind`. The bytes are signed as they are, so they need not
be canonical; unknown fields are ignored. Spec: 04-encryption §9.
"""

from contextlib import suppress
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from miss_protocol.ids import ID_BYTES, MessageId

TEXT_MAX = 8000
"""Characters of a text. In the longest encoding (4 bytes each) it would exceed the body's limit,
which then decides; in French or English it never does."""

Id = Annotated[MessageId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
TextField = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]
ShortText = Annotated[str, Meta(max_length=256)]
Hash32 = Annotated[bytes, Meta(min_length=32, max_length=32)]


class Content(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Any content.

    Attributes:
        fallback: what an application shows that does not know the kind.
        original: set when a message is encrypted anew under another id: the id under which its
            sender first sent it.
    """

    fallback: Annotated[str, Meta(max_length=TEXT_MAX)] = ""
    original: Id | None = None


class Text(Content, frozen=True, kw_only=True, tag="text"):
    """Plain text; line breaks allowed."""

    text: TextField


class Reply(Content, frozen=True, kw_only=True, tag="reply"):
    """Text that answers an earlier message of the conversation."""

    message: Id
    text: TextField


class Edit(Content, frozen=True, kw_only=True, tag="edit"):
    """A new text for one's own earlier message; the old one stays visible on demand."""

    message: Id
    text: TextField


class Delete(Content, frozen=True, kw_only=True, tag="delete"):
    """A wish to hide one's own earlier message; what was read cannot be unread."""

    message: Id


class Reaction(Content, frozen=True, kw_only=True, tag="reaction"):
    """One symbol as an answer to a message; an empty one takes it back."""

    message: Id
    symbol: Annotated[str, Meta(max_length=16)]


class ReceiptRequest(Content, frozen=True, kw_only=True, tag="receipt_request"):
    """The sender asks the reader to confirm that a message was read."""

    message: Id


class Attachment(Content, frozen=True, kw_only=True, tag="attachment"):
    """Where an encrypted file is and how to open it; the file itself travels apart."""

    id: Id
    key: Hash32
    hash: Hash32
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    media_type: ShortText
    name: ShortText = ""
    thumbnail: Annotated[bytes, Meta(max_length=8192)] = b""


class Notice(Content, frozen=True, kw_only=True, tag="notice"):
    """What an institution tells about a patient's stay: admitted, transferred, discharged."""

    event: ShortText
    text: TextField


class SessionAck(Content, frozen=True, kw_only=True, tag="session_ack"):
    """ "Your session reached me": sent once per new session, shown to nobody, never answered."""


class Escalation(Content, frozen=True, kw_only=True, tag="escalation"):
    """A message that stayed unanswered is passed on with more urgency."""

    message: Id
    level: Annotated[int, Meta(ge=1, le=9)]


class Unknown(Content, frozen=True, kw_only=True, tag="\0unknown"):
    """A kind from a newer application, or content that is not in order: never sent.

    Attributes:
        named: the kind it gave itself, if it gave one.
    """

    named: str = ""


class _Header(Struct):
    kind: str = ""
    fallback: Annotated[str, Meta(max_length=TEXT_MAX)] = ""
    original: Id | None = None


KINDS: tuple[type[Content], ...] = (
    Text,
    Reply,
    Edit,
    Delete,
    Reaction,
    ReceiptRequest,
    Attachment,
    Notice,
    SessionAck,
    Escalation,
)
"""Every kind of version 1, the reserved ones included."""

_decoders = {str(kind.__struct_config__.tag): msgspec.msgpack.Decoder(kind) for kind in KINDS}


def encode(content: Content) -> bytes:
    """Write content as msgpack."""
    return msgspec.msgpack.encode(content)


def decode(data: bytes) -> Content:
    """Read content. It never fails: the sender signed it, so its reader must at least see it."""
    try:
        header = msgspec.msgpack.decode(data, type=_Header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Unknown()
    decoder = _decoders.get(header.kind)
    if decoder is not None:
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            return decoder.decode(data)
    return Unknown(named=header.kind, fallback=header.fallback, original=header.original)


def shown(content: Content) -> tuple[str, str]:
    """What people see of a content, and its kind. Kinds unknown here are shown by their fallback
    text, so that nothing that a colleague wrote is invisible."""
    kind = str(content.__struct_config__.tag)
    if isinstance(content, Text | Reply | Edit):
        return content.text, kind
    if isinstance(content, Unknown):
        return content.fallback, content.named or "unknown"
    return content.fallback, kind
