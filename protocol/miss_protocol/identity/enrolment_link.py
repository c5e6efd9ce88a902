"""The link of an enrolment letter: which server, and the code. As text, as a QR code, as a deep link.

    miss://enrol?server=https%3A%2F%2Fmiss.example.org&code=ABCD-EFGH-JKMN

It saves typing and vouches for nobody: a client shows the server and whose code it is, and asks, as if
both had been typed. Spec: 11-accounts §2; vectors: `enrolment_links.json`.
"""

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from miss_protocol.errors import Malformed

SCHEME = "miss"
LINK_MAX = 512
"""Characters: a QR code of that is still read from paper by a cheap phone."""
CODE_MAX = 64

Action = Literal["enrol", "recover"]


@dataclass(frozen=True, slots=True)
class EnrolmentLink:
    """What a link says. `server` is an origin: scheme, host and perhaps a port; `code` as written."""

    server: str
    code: str
    action: Action = "enrol"


def looks_like_link(text: str) -> bool:
    """Whether a text was meant as a link; whether it is one, `read_link` tells."""
    return text.strip()[: len(SCHEME) + 1].lower() == f"{SCHEME}:"


def write_link(link: EnrolmentLink) -> str:
    """Write a link, in the one form that `vectors/enrolment_links.json` shows.

    Raises:
        Malformed: the server is no origin, or the code holds something else than letters, digits and
            hyphens.
    """
    parts = {"server": origin(link.server), "code": _code(link.code)}
    return f"{SCHEME}://{link.action}?{urlencode(parts)}"


def read_link(text: str) -> EnrolmentLink:
    """Read a link as it was scanned, clicked or pasted. Parameters that are not known are passed over.

    Raises:
        Malformed: it is none, or names a server or a code twice.
    """
    text = text.strip()
    if len(text) > LINK_MAX or not text.isprintable():
        raise Malformed("not an enrolment link")
    try:
        parts = urlsplit(text)
        named = parse_qsl(parts.query, strict_parsing=True, keep_blank_values=True)
    except ValueError:
        raise Malformed("not an enrolment link") from None
    action = parts.netloc.lower()
    if parts.scheme != SCHEME or parts.path not in ("", "/") or parts.fragment:
        raise Malformed("not an enrolment link")
    for known in get_args(Action):
        if known == action:
            return EnrolmentLink(origin(_one(named, "server")), _code(_one(named, "code")), known)
    raise Malformed("a link for something else")


def _one(named: list[tuple[str, str]], name: str) -> str:
    values = [value for each, value in named if each == name]
    if len(values) != 1:
        raise Malformed(f"an enrolment link names its {name} once")
    return values[0]


def origin(url: str) -> str:
    """A server's URL as scheme, host and perhaps a port, in lower case.

    Raises:
        Malformed: it holds anything else, which could hide another host behind a familiar beginning.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Malformed("not a server's URL") from None
    host = parts.hostname or ""
    plain = host.isascii() and url.isprintable() and "@" not in parts.netloc
    beside = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or not plain or beside:
        raise Malformed("not a server's URL")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")


def _code(text: str) -> str:
    letters = text.replace("-", "")
    if not (letters.isascii() and letters.isalnum()) or len(text) > CODE_MAX:
        raise Malformed("not a code")
    return text
