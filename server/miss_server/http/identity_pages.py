"""The pages that a browser shows after a sign-in, in French and English, without scripts or links
out: the provider's address bar was the last thing its reader checked."""

from html import escape
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from miss_protocol.errors import Code
from miss_protocol.languages import language_accepted
from miss_server.words import Both

DEEP_LINK = "miss://signed-in?code="
"""Opens the app of this device with the code; it asks its user before it is used."""

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address holds the provider's code
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="{language}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>MiSS</title>
<style>body{{font:1.1em sans-serif;max-width:32em;margin:3em auto;padding:0 1em}}
strong{{font:bold 2em monospace;letter-spacing:.1em}}</style>
<h1>{title}</h1>{paragraphs}
</html>
"""


def begun_page(request: Request, name: str, confirmation: str) -> Response:
    """What to do next, for who signed in: the code goes into their own app."""
    grouped = f"{confirmation[:5]}-{confirmation[5:]}"
    title = Both("You are signed in", "Vous êtes identifié")
    told = [
        Both(
            f"{escape(name)}, type this code into the MiSS application in which you began:",
            f"{escape(name)}, saisissez ce code dans l'application MiSS où vous avez commencé :",
        ),
        Both(f"<strong>{grouped}</strong>", f"<strong>{grouped}</strong>"),
        Both(
            f'<a href="{DEEP_LINK}{quote(grouped)}">Open MiSS on this device</a>',
            f'<a href="{DEEP_LINK}{quote(grouped)}">Ouvrir MiSS sur cet appareil</a>',
        ),
        Both(
            "Tell it to nobody. If somebody sent you here, close this page: they would write in "
            "your name.",
            "Ne le donnez à personne. Si quelqu'un vous a envoyé ici, fermez cette page : il "
            "écrirait en votre nom.",
        ),
    ]
    return _page(request, title, told, 200)


def over_page(request: Request, code: Code, reason: str = "") -> Response:
    """Why this came to nothing."""
    title = Both("Sign-in not completed", "Connexion non aboutie")
    shown = f" [{code.wire}{': ' + escape(reason) if reason else ''}]"
    told = [Both(code.text("en") + shown, code.text("fr") + shown)]
    return _page(request, title, told, code.status)


def _page(request: Request, title: Both, told: list[Both], status: int) -> Response:
    language = language_accepted(request.headers.get("accept-language", ""))
    french = language == "fr"
    text = _PAGE.format(
        language=language,
        title=escape(title.fr if french else title.en),
        paragraphs="".join(f"<p>{one.fr if french else one.en}</p>" for one in told),
    )
    return Response(text, status, _HEADERS, media_type="text/html")
