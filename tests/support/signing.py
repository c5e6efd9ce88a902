"""Signs HTTP calls as a device does (RFC 9421, spec 02-wire §5), or wrongly on purpose."""

import base64
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
from http_message_signatures import HTTPMessageSigner, algorithms
from http_message_signatures.httpx2 import adapt_message
from nacl.signing import SigningKey

from miss_protocol import http_signature
from miss_protocol.ids import DeviceId


@dataclass
class Signing:
    """How a call is signed; the tests of signatures change one thing at a time."""

    covered: Sequence[str] = http_signature.COVERED
    created_s: int | None = None
    nonce: str | None = None
    tag: str | None = http_signature.TAG
    key: SigningKey | None = None
    key_id: str | None = None
    label: str = http_signature.LABEL


def sign(
    request: httpx2.Request, body: bytes, device: DeviceId, key: SigningKey, how: Signing
) -> None:
    """Sign a request in place (RFC 9421)."""
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519)
    message = adapt_message(request)
    created = int(time.time()) if how.created_s is None else how.created_s
    prepared = signer.prepare(
        message,
        key_id=how.key_id or http_signature.key_id(device),
        created=datetime.fromtimestamp(created, UTC),
        nonce=base64.urlsafe_b64encode(os.urandom(18)).decode() if how.nonce is None else how.nonce,
        label=how.label,
        tag=how.tag,
        covered_component_ids=how.covered,
        body=body if "content-digest" in how.covered else None,
    )
    signature = (how.key or key).sign(prepared.signature_base).signature
    signer.apply(message, prepared, signature)
