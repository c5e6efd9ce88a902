"""What stops the server at its start: told in one line, which says what to change."""

from miss_server.words import Both


class Refusal(Exception):
    """The server cannot serve as it is set up; `do` says what to change where the text does not."""

    do: Both | None = None

    def __init__(self, text: str, do: Both | None = None) -> None:
        super().__init__(text)
        if do is not None:
            self.do = do


REFUSED = (Refusal, OSError, UnicodeDecodeError)
"""All that is told so; the latter two are of files that the settings name."""

_A_FILE = Both("See `miss-server config check`.", "Voir `miss-server config check`.")


def line_of(error: Exception) -> str:
    """One line for the operator, of one of `REFUSED`."""
    text = " ".join(str(error).split())
    do = error.do if isinstance(error, Refusal) else _A_FILE
    return text if do is None else f"{text}. {do}"
