"""Where fictive people practise: real towns with their real postcodes, invented organisations."""

from typing import NamedTuple


class Town(NamedTuple):
    """A town. `commune` is its INSEE code; `weight` how many practise there, relatively."""

    name: str
    postcode: str
    commune: str
    department_code: str
    department: str
    weight: int


def _towns(code: str, department: str, *towns: tuple[str, str, str, int]) -> list[Town]:
    return [
        Town(name, postcode, commune, code, department, weight)
        for name, postcode, commune, weight in towns
    ]


TOWNS: tuple[Town, ...] = (
    *_towns(
        "59",
        "Nord",
        ("Lille", "59000", "59350", 90),
        ("Lille", "59800", "59350", 40),
        ("Roubaix", "59100", "59512", 30),
        ("Tourcoing", "59200", "59599", 30),
        ("Villeneuve-d'Ascq", "59491", "59009", 25),
        ("Dunkerque", "59140", "59183", 25),
        ("Valenciennes", "59300", "59606", 25),
        ("Douai", "59500", "59178", 18),
        ("Cambrai", "59400", "59122", 14),
        ("Maubeuge", "59600", "59392", 12),
        ("Armentières", "59280", "59017", 12),
        ("Hazebrouck", "59190", "59295", 10),
        ("La Madeleine", "59110", "59368", 10),
        ("Marcq-en-Barœul", "59700", "59378", 12),
    ),
    *_towns(
        "62",
        "Pas-de-Calais",
        ("Arras", "62000", "62041", 20),
        ("Lens", "62300", "62498", 18),
        ("Calais", "62100", "62193", 14),
        ("Boulogne-sur-Mer", "62200", "62160", 14),
        ("Béthune", "62400", "62119", 12),
        ("Saint-Omer", "62500", "62765", 10),
    ),
    *_towns("80", "Somme", ("Amiens", "80000", "80021", 16)),
    *_towns("75", "Paris", ("Paris", "75015", "75115", 20), ("Paris", "75011", "75111", 20)),
    *_towns("69", "Rhône", ("Lyon", "69003", "69383", 20)),
    *_towns("13", "Bouches-du-Rhône", ("Marseille", "13005", "13205", 20)),
    *_towns("94", "Val-de-Marne", ("L'Haÿ-les-Roses", "94240", "94038", 6)),
    *_towns("33", "Gironde", ("Bordeaux", "33000", "33063", 12)),
    *_towns("44", "Loire-Atlantique", ("Nantes", "44000", "44109", 12)),
    *_towns("35", "Ille-et-Vilaine", ("Rennes", "35000", "35238", 10)),
    *_towns("29", "Finistère", ("Brest", "29200", "29019", 8)),
    *_towns("67", "Bas-Rhin", ("Strasbourg", "67000", "67482", 10)),
    *_towns("31", "Haute-Garonne", ("Toulouse", "31000", "31555", 12)),
    *_towns("34", "Hérault", ("Montpellier", "34000", "34172", 10)),
    *_towns("38", "Isère", ("Grenoble", "38000", "38185", 8)),
    *_towns("42", "Loire", ("Saint-Étienne", "42000", "42218", 8)),
    *_towns("76", "Seine-Maritime", ("Rouen", "76000", "76540", 10)),
    *_towns("51", "Marne", ("Reims", "51100", "51454", 8)),
    *_towns("54", "Meurthe-et-Moselle", ("Nancy", "54000", "54395", 8)),
    *_towns("21", "Côte-d'Or", ("Dijon", "21000", "21231", 8)),
    *_towns("87", "Haute-Vienne", ("Limoges", "87000", "87085", 6)),
    *_towns("63", "Puy-de-Dôme", ("Clermont-Ferrand", "63000", "63113", 6)),
    *_towns("06", "Alpes-Maritimes", ("Nice", "06000", "06088", 10)),
    *_towns("2A", "Corse-du-Sud", ("Ajaccio", "20000", "2A004", 3)),
    *_towns("2B", "Haute-Corse", ("Bastia", "20200", "2B033", 3)),
    *_towns("971", "Guadeloupe", ("Les Abymes", "97139", "97101", 3)),
    *_towns("974", "La Réunion", ("Saint-Denis", "97400", "97411", 5)),
)

ABROAD = (
    ("GL", "Nuuk", "Groenland"),
    ("H3A", "Montréal", "Canada"),
    ("SW7", "Londres", "Royaume-Uni"),
)
"""Postcodes that are not numbers, town and country."""

STREET_KINDS = (
    ("R", "Rue"),
    ("AV", "Avenue"),
    ("BD", "Boulevard"),
    ("PL", "Place"),
    ("CHE", "Chemin"),
)
STREETS = (
    "des Tilleuls", "du Beffroi", "de l'Écluse", "des Filatures", "du Moulin-Vert", "d'Isly",
    "de la Gare", "du Château-d'Eau", "des Brasseurs", "de l'Abbé-Prévôt", "du Vieux-Marché",
    "des Sœurs-Grises", "de la Clef", "des Arts", "du Pont-Neuf", "des Glycines",
)  # fmt: skip
SITES = (
    "Maison de santé {}", "Cabinet {}", "Centre de santé {}", "Clinique {}",
    "Centre hospitalier {}", "EHPAD {}", "SELARL {}",
)  # fmt: skip
SITE_NAMES = (
    "des Tilleuls", "du Beffroi", "Sainte-Ildegarde", "de l'Aubépine", "du Grand-Large",
    "Les Érables", "du Val Fleuri", "Saint-Wulfran", "des Trois-Ponts", "de la Deûle-Claire",
)  # fmt: skip
PHONES = ("0199000", "0261910", "0353010", "0465710", "0536490")
"""Numbers that the regulator keeps for fiction (ARCEP decision 2018-0881): three digits follow."""
