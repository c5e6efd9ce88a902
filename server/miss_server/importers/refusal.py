"""Why an import does not take place, for the operator who started it."""

from miss_server.importers.faults import Faults
from miss_server.working import Told


class ImportRefused(Told):
    """A file that is not imported; the directory in force stays.

    Args:
        code: a word for scripts and searches, the same in every language (spec 05 §4.4).
        reason: what is wrong, in the operator's language.
        advice: what to do next, in the operator's language.
        faults: the lines that are to blame.
    """

    def __init__(self, code: str, reason: str, advice: str, faults: Faults | None = None) -> None:
        # All of them, so that a process can hand it over to another one.
        super().__init__(code, reason, advice, faults)
        self.code = code
        self.reason = reason
        self.advice = advice
        self.faults = faults or Faults()

    def __str__(self) -> str:
        return self.reason
