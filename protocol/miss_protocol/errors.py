"""Everything that can go wrong, as one tree, and the codes by which the wire tells it.

    MissError
    ├── LocalError            we used the protocol wrongly; a bug on this side
    └── RemoteError           the peer broke a rule; carries a `Code`
        ├── Malformed         bytes or fields that are not what the wire defines
        ├── Refused           understood and refused: the code says why and what to do next
        ├── Untrusted         a signature, a certificate, a roster or a key does not hold
        ├── Unproven          an identity provider's token does not show who somebody is
        └── Undecryptable     a ciphertext that this device cannot open (one text for all causes)

The codes themselves are in `miss_protocol.codes` and `miss_protocol.close_codes`, and imported from here.
Spec: 06-codes. Internal text (`str(error)`) is for logs and never reaches the peer.
"""

from miss_protocol.close_codes import CloseCode
from miss_protocol.codes import Code, code_of
from miss_protocol.retry import Retry

__all__ = [
    "CloseCode",
    "Code",
    "LocalError",
    "Malformed",
    "MissError",
    "Refused",
    "RemoteError",
    "Retry",
    "Undecryptable",
    "Unproven",
    "Untrusted",
    "code_of",
]


class MissError(Exception):
    """Any error of the protocol."""


class LocalError(MissError):
    """This side used the protocol wrongly: a bug here, never the peer's fault."""


class RemoteError(MissError):
    """The peer broke a rule. `code` may be told to it, the exception's own text may not."""

    code = Code.MALFORMED


class Malformed(RemoteError):
    """Bytes or fields that are not what the wire defines."""

    code = Code.MALFORMED


class Refused(RemoteError):
    """Understood and refused.

    Args:
        code: why, and by its `Retry` rule what to do next.
        detail: for logs; it never reaches the peer.
        retry_after: seconds to wait, for the `Retry.SAME` rule.
        reason: of a decision about the account, as it was written for its owner; the peer is told.
    """

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        retry_after: float | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(detail or code.wire)
        self.code = code
        self.retry_after = retry_after
        self.reason = reason


class Untrusted(RemoteError):
    """A signature, certificate, roster or key does not hold."""

    code = Code.UNTRUSTED


class Unproven(RemoteError):
    """A token of an identity provider that does not show who somebody is.

    Args:
        reason: which check failed, one word of spec 10 §3.1: shown to the user, who reads it to the
            operator's help desk.
    """

    code = Code.IDENTITY_UNPROVEN

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Undecryptable(RemoteError):
    """A ciphertext that this device cannot open.

    All causes look alike from outside, so that nobody can use a device as a padding or key oracle.
    """

    code = Code.UNTRUSTED

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or "this envelope cannot be opened")
