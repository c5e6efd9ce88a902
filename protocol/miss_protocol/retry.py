"""What comes next after a code of the wire. Spec: 06-codes §1."""

from enum import Enum


class Retry(Enum):
    """What the receiver of a code does next."""

    NEVER = "never"
    """Nothing will change: show it, or fix the program."""
    SAME = "same"
    """Repeat the very same bytes (for a send: the same `sn`) after `retry_after`."""
    REFRESH = "refresh"
    """Fetch what changed (rosters, prekeys), encrypt anew, send under a new `sn`."""
    RECONNECT = "reconnect"
    """Connect again with jittered back-off."""
    ENROL = "enrol"
    """This device's identity is over: the user enrols it again."""
    ANSWER = "answer"
    """Show it: a new send may go once an account that the refusal names wrote or accepted."""
