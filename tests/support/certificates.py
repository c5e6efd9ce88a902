"""Certificates for tests: an authority of their own, and server certificates of every kind."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme

from tests.support.wire import AUTHORITIES

NAMES = ("127.0.0.1", "miss.example")


def _authority() -> trustme.CA:
    made = trustme.CA(organization_name="An authority for tests")
    AUTHORITIES.load_verify_locations(cadata=made.cert_pem.bytes().decode())
    return made


@dataclass
class Files:
    """A certificate and its key in a folder, where a server finds them."""

    folder: Path
    authority: trustme.CA = field(default_factory=_authority)

    @property
    def certificate(self) -> Path:
        """The certificate with its chain."""
        return self.folder / "fullchain.pem"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.folder / "key.pem"

    @property
    def settings(self) -> dict[str, str]:
        """For the server."""
        return {"MISS_TLS_CERT": str(self.certificate), "MISS_TLS_KEY": str(self.key)}

    def write(
        self,
        *names: str,
        ends: datetime | None = None,
        begins: datetime | None = None,
        kind: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> None:
        """Write a new pair, as a tool for renewals does: beside the old files, then in their
        place."""
        made = self.authority.issue_cert(
            *(names or NAMES), not_after=ends, not_before=begins, key_type=kind
        )
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        self.put(self.key, made.private_key_pem.bytes())
        self.put(self.certificate, chain)

    def put(self, path: Path, content: bytes) -> None:
        """Replace a file at once."""
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        os.replace(beside, path)
