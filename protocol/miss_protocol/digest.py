"""The rolling digest of a mailbox, by which a device and the server compare what they remember.

Each row has a hash, and the digest after a row is the hash of the digest before it, the row's
position and the row's hash. In `hello` the device tells its digest; a server that computes another
one has lost or changed something (a restored backup, a rolled-back machine) and changes the
mailbox epoch (rule C6, spec 03-session §6). A row keeps its hash when it becomes a gap.
"""

from hashlib import blake2b

from miss_protocol.encoding import pack, u64

EMPTY = bytes(32)
"""The digest of a mailbox in which nothing was ever put."""

HASH_BYTES = 32


def envelope_hash(account: str, device: bytes, message: bytes, body: bytes, wrap: bytes) -> bytes:
    """The hash of a delivered row: who sent it (account, device), its id, body and wrap."""
    return blake2b(
        pack(account.encode(), device, message, body, wrap),
        digest_size=HASH_BYTES,
        person=b"MiSS1 envelope",
    ).digest()


def gap_hash(reason: str) -> bytes:
    """The hash of a row that was a gap from the start. Its growing `count` is not in it."""
    return blake2b(reason.encode(), digest_size=HASH_BYTES, person=b"MiSS1 gap").digest()


def roll(digest: bytes, position: int, row_hash: bytes) -> bytes:
    """The digest after the row at `position`."""
    return blake2b(
        digest + u64(position) + row_hash, digest_size=HASH_BYTES, person=b"MiSS1 mailbox"
    ).digest()
