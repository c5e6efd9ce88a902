"""Why a send of a batch is refused, told within the settlement."""

from collections.abc import Sequence

from miss_protocol.errors import Code


class Refusal(Exception):
    """A send is refused with `code`; `accounts` are those at fault, `retry_after` is in seconds."""

    def __init__(
        self, code: Code, accounts: Sequence[str] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(code.wire)
        self.code = code
        self.accounts = tuple(accounts)
        self.retry_after = retry_after
