"""An address that may hold a password: taken apart without a word of it in what is said."""

from urllib.parse import SplitResult, urlsplit


def parts_of(text: str, *, like: str) -> SplitResult:
    """The parts of an address, whose password is where it seems to be.

    Args:
        like: how one is written, for the error.

    Raises:
        ValueError: it is none, or its password ends before its end; the text has nothing of it.
    """
    wrong = (
        f"is no address as {like}; in its password, / is written %2F, ? %3F, # %23, @ %40 and % %25"
    )
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        # The parser's own words would show what it took for the port: a piece of the password.
        raise ValueError(wrong) from None
    # `redis://:12/word@host/0`: the host would be nobody, and the rest of the password no secret.
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(wrong)
    return parts
