"""Letters with enrolment codes: one HTML file, a page a person, that prints as it is.

It refers to nothing outside, so that opening it tells nobody that there are codes in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Literal

import segno

from miss_protocol.identity.enrolment_link import Action, EnrolmentLink, write_link

Language = Literal["fr", "en"]


@dataclass(frozen=True, slots=True)
class Letter:
    """Whom a letter is for, and what it hands over."""

    name: str
    code: str
    expires_ms: int
    action: Action = "enrol"


def link_of(letter: Letter, server: str) -> str:
    """The link that the letter's QR code holds. Raises `Malformed` if `server` is no origin."""
    return write_link(EnrolmentLink(server, letter.code, letter.action))


def letters_page(letters: Sequence[Letter], *, domain: str, server: str, language: Language) -> str:
    """The file's content. Raises `Malformed` if `server` is no origin."""
    words = _FRENCH if language == "fr" else _ENGLISH
    pages = "".join(_page(letter, domain, server, language, words) for letter in letters)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{escape(words.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{pages}</body>\n</html>\n"
    )


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    recovery: str
    for_: str
    opening: str
    reopening: str
    steps: tuple[str, ...]
    server: str
    code: str
    until: str
    link: str
    check_title: str
    checks: tuple[str, ...]


_ENGLISH = _Words(
    title="Your code for MiSS",
    recovery="Your recovery code for MiSS",
    for_="For",
    opening="With this code you join MiSS, the secure instant messenger between clinicians.",
    reopening="With this code you regain your MiSS account after losing every device. Your "
    "correspondents are told, and any device that is still in your hands can stop it.",
    steps=(
        "Install the application that your operator recommends.",
        "Scan the square below with it, or type the server and the code.",
        "Check your name, read the charter, accept it.",
    ),
    server="Server",
    code="Code",
    until="Valid until",
    link="Link",
    check_title="Check before you accept",
    checks=(
        (
            "The application shows the domain {domain} and your own name. If it shows another name or "
            "another domain, stop and call your operator."
        ),
        (
            "The code works once. If it was used before you did, somebody else has it: call your "
            "operator at once."
        ),
        (
            "It is for you alone. Nobody, your operator included, will ever ask you for it by telephone "
            "or mail. Destroy this letter after use."
        ),
    ),
)
_FRENCH = _Words(
    title="Votre code pour MiSS",
    recovery="Votre code de récupération pour MiSS",
    for_="À l'attention de",
    opening="Ce code vous ouvre MiSS, la messagerie instantanée sécurisée entre soignants.",
    reopening="Ce code vous rend votre compte MiSS après la perte de tous vos appareils. Vos "
    "correspondants en sont avertis, et tout appareil resté en votre possession peut s'y opposer.",
    steps=(
        "Installez l'application que recommande votre opérateur.",
        "Scannez avec elle le carré ci-dessous, ou saisissez le serveur et le code.",
        "Vérifiez votre nom, lisez la charte, acceptez-la.",
    ),
    server="Serveur",
    code="Code",
    until="Valable jusqu'au",
    link="Lien",
    check_title="À vérifier avant d'accepter",
    checks=(
        (
            "L'application affiche le domaine {domain} et votre propre nom. Si elle affiche un autre nom "
            "ou un autre domaine, arrêtez et appelez votre opérateur."
        ),
        (
            "Le code sert une seule fois. S'il a servi avant vous, quelqu'un d'autre l'a : appelez "
            "aussitôt votre opérateur."
        ),
        (
            "Il n'est que pour vous. Personne, pas même votre opérateur, ne vous le demandera par "
            "téléphone ou par courriel. Détruisez cette lettre après usage."
        ),
    ),
)
_MONTHS = (
    ("January", "janvier"),
    ("February", "février"),
    ("March", "mars"),
    ("April", "avril"),
    ("May", "mai"),
    ("June", "juin"),
    ("July", "juillet"),
    ("August", "août"),
    ("September", "septembre"),
    ("October", "octobre"),
    ("November", "novembre"),
    ("December", "décembre"),
)
_STYLE = (
    "@page{size:A4;margin:20mm}"
    "body{font:12pt/1.45 Georgia,serif;color:#000;background:#fff;margin:0}"
    ".letter{max-width:170mm;margin:0 auto;padding:10mm 0;break-after:page;break-inside:avoid}"
    ".letter:last-child{break-after:auto}"
    "h1{font-size:18pt;margin:0 0 8mm}h2{font-size:12pt;margin:8mm 0 2mm}"
    ".qr{float:right;margin:0 0 4mm 6mm}"
    "dt{font-weight:bold;margin-top:2mm}dd{margin:0}"
    ".code{font:bold 20pt/1.3 monospace;letter-spacing:.08em}"
    ".link{font:8pt/1.3 monospace;overflow-wrap:anywhere}"
    "li{margin-bottom:1.5mm}"
)


def _page(letter: Letter, domain: str, server: str, language: Language, words: _Words) -> str:
    link = link_of(letter, server)
    square = segno.make(link, error="m", micro=False).svg_inline(scale=4, svgclass=None)
    recovering = letter.action == "recover"
    steps = "".join(f"<li>{escape(step)}</li>" for step in words.steps)
    checks = "".join(f"<li>{escape(one.format(domain=domain))}</li>" for one in words.checks)
    return (
        '<section class="letter">\n'
        f"<h1>{escape(words.recovery if recovering else words.title)}</h1>\n"
        f"<p>{escape(words.for_)} <strong>{escape(letter.name)}</strong></p>\n"
        f"<p>{escape(words.reopening if recovering else words.opening)}</p>\n"
        f"<ol>{steps}</ol>\n"
        f'<div class="qr">{square}</div>\n'
        f"<dl><dt>{escape(words.server)}</dt><dd>{escape(server)}</dd>"
        f'<dt>{escape(words.code)}</dt><dd class="code">{escape(letter.code)}</dd>'
        f"<dt>{escape(words.until)}</dt><dd>{escape(_day(letter.expires_ms, language))}</dd>"
        f'<dt>{escape(words.link)}</dt><dd class="link">{escape(link)}</dd></dl>\n'
        f"<h2>{escape(words.check_title)}</h2>\n<ul>{checks}</ul>\n</section>\n"
    )


def _day(ms: int, language: Language) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    english, french = _MONTHS[at.month - 1]
    if language == "fr":
        return f"{'1er' if at.day == 1 else at.day} {french} {at.year}, {at:%H:%M} UTC"
    return f"{at.day} {english} {at.year}, {at:%H:%M} UTC"
