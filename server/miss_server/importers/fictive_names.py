"""Names for fictive people: common given names, family names put together from regional parts.

None is taken from a register. A family name that exists all the same is a coincidence.
"""

GIVEN_WOMEN = (
    "Agathe", "Aïcha", "Alice", "Amandine", "Anaïs", "Anne-Sophie", "Astrid", "Aurélie",
    "Béatrice", "Camille", "Capucine", "Céline", "Chloé", "Claire", "Clémence", "Delphine",
    "Élodie", "Élise", "Émilie", "Fatoumata", "Florence", "Françoise", "Gaëlle", "Hélène",
    "Inès", "Isabelle", "Jeanne", "Joséphine", "Julie", "Karima", "Laëtitia", "Leïla", "Léa",
    "Louise", "Lucie", "Maïté", "Manon", "Margaux", "Marie", "Marie-Claude", "Marie-Noëlle",
    "Mathilde", "Maud", "Mélanie", "Nadège", "Noémie", "Océane", "Pauline", "Perrine",
    "Salomé", "Sandrine", "Séverine", "Sidonie", "Solène", "Sylvie", "Valérie", "Yasmine",
    "Zoé",
)  # fmt: skip
GIVEN_MEN = (
    "Adrien", "Alexandre", "Amadou", "Antoine", "Arnaud", "Aurélien", "Bastien", "Benoît",
    "Bruno", "Cédric", "Charles-Henri", "Clément", "Cyril", "Damien", "David", "Étienne",
    "Fabien", "Félix", "François", "Frédéric", "Gaël", "Gaëtan", "Gérard", "Grégoire",
    "Guillaume", "Hugo", "Jean-Baptiste", "Jean-François", "Jérémie", "Jérôme", "Joël",
    "Julien", "Karim", "Kévin", "Loïc", "Lucas", "Marc", "Mathieu", "Maxime", "Mehdi",
    "Nicolas", "Olivier", "Paul", "Philippe", "Pierre-Yves", "Quentin", "Raphaël", "Rémi",
    "Romain", "Samuel", "Sébastien", "Simon", "Stéphane", "Théo", "Thibault", "Vincent",
    "Xavier", "Yann", "Youssef",
)  # fmt: skip

_BEGINNINGS = (
    "Aubr", "Bail", "Barr", "Beauv", "Bess", "Boud", "Braq", "Cam", "Carl", "Cauch", "Charb",
    "Cord", "Cress", "Dan", "Del", "Dest", "Dour", "Duf", "Escaill", "Falv", "Ferr", "Flam",
    "Fourn", "Gam", "Garr", "Glor", "Gross", "Haud", "Hel", "Herm", "Huy", "Jol", "Kerg",
    "Lam", "Land", "Lecr", "Lest", "Lorm", "Mal", "Marq", "Merv", "Mont", "Morb", "Nez",
    "Noy", "Ors", "Pel", "Plouv", "Ponch", "Quer", "Rams", "Ronch", "Rouv", "Salv", "Sav",
    "Sorl", "Tach", "Thum", "Trev", "Vall", "Verm", "Vign", "Wagn", "Warl", "Wil", "Yv",
    "Zeg",
)  # fmt: skip
_ENDINGS = (
    "aert", "agne", "aille", "anec", "ard", "ary", "aud", "audin", "ault", "eau", "ecq",
    "éjac", "elin", "elle", "émont", "érand", "erie", "etz", "eval", "evin", "iac", "ier",
    "ignies", "illon", "inck", "inghe", "iot", "izan", "oche", "œuf", "ois", "onnet", "oudec",
    "oul", "oulin", "uc", "ussart", "uyse", "ève", "ïc",
)  # fmt: skip
_PARTICLES = (
    "Le", "La", "De", "Du", "Van", "Van den", "De la", "D'", "L'", "N'",
)  # fmt: skip


def family_names() -> list[str]:
    """About 2,900 family names, always the same and in the same order."""
    return [beginning + ending for beginning in _BEGINNINGS for ending in _ENDINGS]


def with_particle(name: str, number: int) -> str:
    """A name behind one of ten particles, elided or not."""
    particle = _PARTICLES[number % len(_PARTICLES)]
    return particle + name if particle.endswith("'") else f"{particle} {name}"


_PLAIN = str.maketrans("ÀÂÇÈÉÊËÎÏÔÙÛÜŸàâçèéêëîïôùûüÿ", "AACEEEEIIOUUUYaaceeeeiiouuuy") | {
    ord("Œ"): "OE",
    ord("œ"): "oe",
}


def plain(text: str) -> str:
    """Text as a keyboard without accents writes it."""
    return text.translate(_PLAIN)
