"""The shared directory: how words are folded for search, and the bodies of its HTTP calls.

Both ends fold alike: the server when it stores and when it searches, a client when it highlights
what matched. Spec: 05-directory.
"""

import re
import unicodedata
from typing import Literal

from msgspec import Struct

from miss_protocol import limits
from miss_protocol.errors import Code, Malformed, Refused

Kind = Literal["person", "organisation"]
Reach = Literal["miss", "dormant", "mailbox", "none"]
"""`miss`: a device was seen within `limits.DORMANT_AFTER`; `dormant`: enrolled, not seen since;
`mailbox`: a secure mailbox only; `none`: neither."""

_LETTERS = str.maketrans(
    {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ʼ": " "}
)
"""Letters that Unicode does not decompose and that people type with plain ones; an apostrophe
that Unicode takes for a letter."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")

UNNUMBERED = ("bal.", "local.")
"""How identifiers begin of entries that only a secure mailbox or an operator's own list knows."""
WITHIN = "/"
"""In an identifier: between a structure's number and what it calls one of its people."""


def lacks_number(person: str) -> bool:
    """Whether the identifier of a person is no national number, so that somebody has to vouch for them.

    Of organisations it says nothing. Source: spec 05 §1.1, 11 §4.
    """
    return person.startswith(UNNUMBERED) or WITHIN in person


def normalise(text: str) -> tuple[str, ...]:
    """Fold text into the words by which the directory is searched.

    Case and accents are dropped, ligatures opened (`œ` is `oe`), and every character that is
    neither a letter nor a digit separates: hyphens, apostrophes, punctuation. Words keep their
    order and repetitions. Applying it to its own words gives the same words again.
    """
    if text.isascii():  # nothing to decompose: ten times quicker, for millions of stored lines
        return tuple(_ASCII_WORD.findall(text.lower()))
    # Folding case may itself compose a letter (ŉ is ʼn) and decomposing may uncover a capital
    # or a ligature (ᴭ is Æ), so both are done twice.
    once = unicodedata.normalize("NFKD", text.casefold())
    folded = unicodedata.normalize("NFKD", once.casefold().translate(_LETTERS))
    return tuple(
        "".join(
            character if character.isalnum() else " "
            for character in folded
            if not unicodedata.category(character).startswith("M")
        ).split()
    )


EVERYDAY: tuple[tuple[str, str], ...] = (
    ("médecin", "docteur toubib"),
    ("médecine générale", "généraliste omnipraticien mg traitant famille"),
    ("allergologie", "allergologue allergo allergie"),
    ("anatomie et cytologie pathologiques", "anapath pathologiste"),
    ("anesthésie réanimation", "anesthésiste réanimateur réa"),
    ("biologie médicale", "biologiste labo laboratoire"),
    ("cardiologie", "cardiologue cœur"),
    ("chirurgie", "chirurgien chirurgienne"),
    ("chirurgie maxillo faciale", "maxillo stomato stomatologue"),
    ("chirurgie orale", "stomato"),
    ("chirurgie orthopédique", "orthopédiste ortho traumatologue"),
    ("chirurgie urologique", "urologue urologie"),
    ("chirurgie plastique", "plasticien plasticienne esthétique"),
    ("chirurgie thoracique", "thoracique"),
    ("chirurgie vasculaire", "vasculaire"),
    ("chirurgie viscérale", "viscéral digestif digestive bariatrique"),
    ("dermatologie", "dermatologue dermato peau"),
    ("endocrinologie", "endocrinologue endocrino diabétologue diabète thyroïde"),
    ("gastro entérologie", "gastroentérologue gastro hépatologue"),
    ("génétique médicale", "généticien généticienne"),
    ("gériatrie", "gériatre"),
    ("gynécologie", "gynécologue gynéco"),
    ("gynécologie obstétrique", "obstétricien obstétricienne accoucheur"),
    ("hématologie", "hématologue hémato"),
    ("maladies infectieuses", "infectiologue infectio"),
    ("médecine d'urgence", "urgentiste urgences smur samu"),
    ("médecine du travail", "travail"),
    ("médecine interne", "interniste"),
    ("médecine nucléaire", "scintigraphie"),
    ("médecine physique", "rééducateur rééducation réadaptation mpr"),
    ("médecine vasculaire", "angiologue angio phlébologue"),
    ("néphrologie", "néphrologue néphro rein dialyse"),
    ("neurochirurgie", "neurochirurgien neurochirurgienne"),
    ("neurologie", "neurologue neuro"),
    ("oncologie", "oncologue onco cancérologue cancer"),
    ("ophtalmologie", "ophtalmologue ophtalmo ophtalmologiste yeux"),
    ("oto rhino laryngologie", "orl otorhino"),
    ("orl", "otorhino"),
    ("pédiatrie", "pédiatre enfants"),
    ("pneumologie", "pneumologue pneumo poumon"),
    ("psychiatrie", "psychiatre psy"),
    ("psychiatrie de l'enfant", "pédopsychiatre pédopsy"),
    ("radio diagnostic", "radiologue radiologie radio imagerie scanner irm écho échographie"),
    ("radiodiagnostic", "radiologue radiologie radio imagerie scanner irm écho échographie"),
    ("radiothérapie", "radiothérapeute"),
    ("rhumatologie", "rhumatologue rhumato"),
    ("pharmacien", "pharmacienne pharmacie officine apothicaire"),
    ("chirurgien dentiste", "chirurgienne dentaire"),
    ("orthopédie dento faciale", "orthodontiste ortho orthodontie"),
    ("sage femme", "sagefemme maïeuticien maïeuticienne accoucheuse"),
    ("infirmier", "infirmière ide idel"),
    ("pratique avancée", "ipa"),
    ("masseur kinésithérapeute", "kinésithérapeute kiné masseuse"),
    ("pédicure podologue", "podologue podo"),
    ("orthophoniste", "orthophonie"),
    ("orthoptiste", "orthoptie"),
    ("ergothérapeute", "ergothérapie ergo"),
    ("psychomotricien", "psychomotricienne psychomot"),
    ("psychologue", "psy"),
    ("diététicien", "diététicienne nutrition"),
    ("audioprothésiste", "audio"),
    ("opticien", "opticienne lunettes"),
    ("manipulateur", "manipulatrice manip radio"),
    ("technicien de laboratoire", "labo"),
    ("laboratoire", "labo analyses"),
    ("imagerie", "radio radiologie scanner irm"),
    ("maternité", "accouchement obstétrique"),
    ("urgences", "smur samu"),
    ("secrétariat", "accueil"),
    ("personnes âgées dépendantes", "ehpad maison de retraite"),
    ("soins infirmiers a domicile", "ssiad"),
    ("hospitalisation a domicile", "had"),
)
"""What the register writes, and what people say for it: (words of a label, everyday words)."""

ABBREVIATIONS: tuple[tuple[str, str], ...] = (
    ("saint", "st"),
    ("sainte", "ste"),
    ("centre hospitalier", "ch hôpital"),
    ("centre hospitalier universitaire", "chu"),
    ("centre hospitalier régional universitaire", "chru chu"),
    ("centre médico psychologique", "cmp"),
    ("maison de santé", "msp"),
    ("pharmacie a usage interieur", "pui"),
    ("laboratoire", "labo"),
    ("ehpad", "maison de retraite"),
    ("cedex", ""),
)
"""The same for names of towns and organisations; the abbreviation finds the long form too."""

IGNORED: frozenset[str] = frozenset(
    normalise(
        "dr docteur docteure pr prof professeur mme madame m mr monsieur mlle me"
        " a au aux chez dans de des du en et la le les pour sur un une"
    )
)
"""Words of a query that say nothing beside others: titles, articles, prepositions."""


def _folded(table: tuple[tuple[str, str], ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((f" {' '.join(normalise(key))} ", normalise(words)) for key, words in table)


_EVERYDAY = _folded(EVERYDAY)
_ABBREVIATIONS = _folded(ABBREVIATIONS)


def everyday_words(label: str) -> tuple[str, ...]:
    """The words that people use for a profession or a speciality, folded, without its own.

    `label` is the register's, of any spelling: "Cardiologie et maladies vasculaires".
    """
    padded = f" {' '.join(normalise(label))} "
    return tuple(word for key, words in _EVERYDAY if key in padded for word in words)


def place_words(name: str) -> tuple[str, ...]:
    """The words of a town's or an organisation's name, folded, with usual abbreviations."""
    own = normalise(name)
    padded = f" {' '.join(own)} "
    more = [word for key, words in _ABBREVIATIONS if key in padded for word in words]
    more += ["saint" for word in own if word == "st"] + ["sainte" for word in own if word == "ste"]
    return own + tuple(more)


def query_words(query: str) -> tuple[str, ...]:
    """Check a search and fold it into the words that an entry must all begin a word with.

    Words of one letter, titles and articles are left out beside others. An empty result (nothing
    typed, one letter, only punctuation) finds nobody.

    Raises:
        Malformed: it holds a control character (they could forge a line of a terminal or a log).
        Refused: too_large, for more than `limits.QUERY_MAX` bytes of UTF-8 or more than
            `limits.QUERY_WORDS_MAX` words that count.
    """
    # `surrogatepass`: JSON can carry half a surrogate pair, which UTF-8 cannot.
    if len(query.encode("utf-8", "surrogatepass")) > limits.QUERY_MAX:
        raise Refused(Code.TOO_LARGE, f"a search of more than {limits.QUERY_MAX} bytes")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in query):
        raise Malformed("a search with a control character")
    words = [word for word in dict.fromkeys(normalise(query)) if len(word) > 1]
    telling = [word for word in words if word not in IGNORED] or words
    if len(telling) > limits.QUERY_WORDS_MAX:
        raise Refused(Code.TOO_LARGE, f"a search of more than {limits.QUERY_WORDS_MAX} words")
    return tuple(telling)


class Place(Struct, frozen=True, omit_defaults=True):
    """Where a person practises or an organisation is, as the source writes it; an unknown part is
    empty. `commune` is the INSEE code; `latitude` and `longitude` (degrees, WGS 84) are of the place
    itself, where its source says them: the centre of a commune is none. `establishment` is the
    identifier of the establishment where a person works (spec 05 §1.1)."""

    organisation: str = ""
    address: str = ""
    postcode: str = ""
    city: str = ""
    department: str = ""
    phone: str = ""
    commune: str = ""
    latitude: float | None = None
    longitude: float | None = None
    establishment: str = ""


class Source(Struct, frozen=True, omit_defaults=True):
    """A file that the directory was made from. `date` is its own, `YYYY-MM-DD`, not the import's.

    Clients show the date beside what came from it: a register that stood still misleads. If the same
    content came before under an older date, `unchanged_since` is the first such date.
    """

    name: str
    date: str
    unchanged_since: str = ""


class Entry(Struct, frozen=True, omit_defaults=True):
    """A person, or an organisation or a service of one.

    `person` is the identifier, of whatever kind (spec 05 §1.1). `account` is given when messages can be
    addressed to it (`reach` is `miss` or `dormant`). `part_of` is the identifier of the organisation
    that a service belongs to, or that vouches for a person without a national number; `other_names` are
    those by which other sources know the same number; `dated` is given by a look-up of one entry;
    `attested_by` names who vouches at present for a person without a national number. In the answer to a
    search, `distance` is in kilometres from where it was asked to be near, and `repaired` tells that the
    entry was found by other words than those typed (spec 05 §3.4).
    """

    person: str
    kind: Kind
    name: str
    given: str = ""
    title: str = ""
    profession: str = ""
    profession_code: str = ""
    specialities: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    reach: Reach = "none"
    account: str | None = None
    sources: tuple[str, ...] = ()
    speciality_codes: tuple[str, ...] = ()
    category: str = ""
    part_of: str = ""
    mailboxes: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    dated: tuple[Source, ...] = ()
    attested_by: tuple[str, ...] = ()
    distance: int | None = None
    repaired: bool = False


class SearchPage(Struct, frozen=True, omit_defaults=True):
    """`GET /v1/directory?q=WORDS&cursor=CURSOR`: entries, the best first.

    `next` is given back as `cursor` for the following page, null after the last. `data_date` is
    the oldest source's, empty before the first import. `repaired`, if some of the entries were found by
    other words than those typed: the words as they were understood, for "results for …".
    """

    entries: tuple[Entry, ...]
    next: str | None
    data_date: str
    sources: tuple[Source, ...]
    repaired: tuple[str, ...] = ()


class Nomenclature(Struct, frozen=True):
    """An official list from which labels of codes are: its name, version and that version's day."""

    name: str
    version: str
    date: str


class DirectorySources(Struct, frozen=True):
    """`GET /v1/directory/sources`: what the directory in force was made from. `data_date` is as in a
    `SearchPage`; `nomenclatures` are those whose labels this server writes at an import."""

    data_date: str
    sources: tuple[Source, ...]
    nomenclatures: tuple[Nomenclature, ...]
