"""Letters: a page a person, self-contained, in both languages, whatever a name holds."""

import re
from html.parser import HTMLParser

import pytest

from miss_protocol.identity.enrolment_link import EnrolmentLink, read_link
from miss_server.admin.letters import Language, Letter, letters_page, link_of

SERVER = "https://miss.example.org"
LETTERS = [
    Letter("Dr Camille Fictif", "ABCD-EFGH-JKMN", 1_796_000_000_000),
    Letter('<b>Prénom</b> "d\'Elle" & Fils', "2345-6789-ABCD", 1_796_083_200_000, "recover"),
]


class Outline(HTMLParser):
    """The elements with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(language: Language) -> Outline:
    parsed = Outline()
    parsed.feed(letters_page(LETTERS, domain="miss.example.org", server=SERVER, language=language))
    return parsed


@pytest.mark.parametrize(
    ("language", "until", "warning"),
    [
        ("en", "30 November 2026", "stop and call your operator"),
        ("fr", "30 novembre 2026", "arrêtez et appelez votre opérateur"),
    ],
)
def test_a_letter_says_server_name_code_end_and_what_to_check(
    language: Language, until: str, warning: str
) -> None:
    page = outline(language)
    assert [tag for tag, _ in page.elements].count("section") == 2
    assert [tag for tag, _ in page.elements].count("svg") == 2
    for letter in LETTERS:
        assert letter.name in page.text
        assert letter.code in page.text
        assert link_of(letter, SERVER) in page.text
    assert SERVER in page.text
    assert page.text.count("miss.example.org") >= 4
    assert re.search(until, page.text)
    assert page.text.count(warning) == 2
    assert page.elements[0] == ("html", {"lang": language})


def test_a_page_asks_for_nothing_from_outside_and_runs_nothing() -> None:
    page = outline("fr")
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "p", "strong"),
        *("ol", "ul", "li", "div", "svg", "path", "dl", "dt", "dd"),
    }
    for _, attributes in page.elements:
        assert not {"src", "href", "xlink:href", "onload", "action"} & set(attributes)
    policies = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_letters_link_leads_to_its_code() -> None:
    assert read_link(link_of(LETTERS[0], SERVER)) == EnrolmentLink(SERVER, "ABCD-EFGH-JKMN")
    assert read_link(link_of(LETTERS[1], SERVER)).action == "recover"


def test_the_first_of_a_month_is_written_as_the_french_do() -> None:
    assert "1er décembre 2026" in outline("fr").text
    assert "1 December 2026" in outline("en").text
