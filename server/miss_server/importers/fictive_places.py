"""Where fictive people practise: real towns with their real postcodes, invented organisations."""

from typing import NamedTuple


class Town(NamedTuple):
    """A town. `commune` is its INSEE code; `weight` how many practise there, relatively; degrees are
    about its centre's."""

    name: str
    postcode: str
    commune: str
    department_code: str
    department: str
    weight: int
    latitude: float
    longitude: float


def _towns(
    code: str, department: str, *towns: tuple[str, str, str, int, float, float]
) -> list[Town]:
    return [
        Town(name, postcode, commune, code, department, weight, latitude, longitude)
        for name, postcode, commune, weight, latitude, longitude in towns
    ]


TOWNS: tuple[Town, ...] = (
    *_towns(
        "59",
        "Nord",
        ("Lille", "59000", "59350", 90, 50.632, 3.058),
        ("Lille", "59800", "59350", 40, 50.632, 3.058),
        ("Roubaix", "59100", "59512", 30, 50.69, 3.174),
        ("Tourcoing", "59200", "59599", 30, 50.724, 3.161),
        ("Villeneuve-d'Ascq", "59491", "59009", 25, 50.623, 3.145),
        ("Dunkerque", "59140", "59183", 25, 51.034, 2.377),
        ("Valenciennes", "59300", "59606", 25, 50.357, 3.523),
        ("Douai", "59500", "59178", 18, 50.371, 3.08),
        ("Cambrai", "59400", "59122", 14, 50.176, 3.235),
        ("Maubeuge", "59600", "59392", 12, 50.278, 3.973),
        ("Armentières", "59280", "59017", 12, 50.688, 2.881),
        ("Hazebrouck", "59190", "59295", 10, 50.724, 2.538),
        ("La Madeleine", "59110", "59368", 10, 50.656, 3.071),
        ("Marcq-en-Barœul", "59700", "59378", 12, 50.671, 3.097),
    ),
    *_towns(
        "62",
        "Pas-de-Calais",
        ("Arras", "62000", "62041", 20, 50.291, 2.777),
        ("Lens", "62300", "62498", 18, 50.429, 2.832),
        ("Calais", "62100", "62193", 14, 50.951, 1.859),
        ("Boulogne-sur-Mer", "62200", "62160", 14, 50.726, 1.614),
        ("Béthune", "62400", "62119", 12, 50.53, 2.641),
        ("Saint-Omer", "62500", "62765", 10, 50.748, 2.261),
    ),
    *_towns("80", "Somme", ("Amiens", "80000", "80021", 16, 49.894, 2.296)),
    *_towns(
        "75",
        "Paris",
        ("Paris", "75015", "75115", 20, 48.841, 2.3),
        ("Paris", "75011", "75111", 20, 48.858, 2.379),
    ),
    *_towns("69", "Rhône", ("Lyon", "69003", "69383", 20, 45.754, 4.869)),
    *_towns("13", "Bouches-du-Rhône", ("Marseille", "13005", "13205", 20, 43.293, 5.397)),
    *_towns("94", "Val-de-Marne", ("L'Haÿ-les-Roses", "94240", "94038", 6, 48.78, 2.337)),
    *_towns("33", "Gironde", ("Bordeaux", "33000", "33063", 12, 44.838, -0.579)),
    *_towns("44", "Loire-Atlantique", ("Nantes", "44000", "44109", 12, 47.218, -1.554)),
    *_towns("35", "Ille-et-Vilaine", ("Rennes", "35000", "35238", 10, 48.117, -1.678)),
    *_towns("29", "Finistère", ("Brest", "29200", "29019", 8, 48.39, -4.486)),
    *_towns("67", "Bas-Rhin", ("Strasbourg", "67000", "67482", 10, 48.573, 7.752)),
    *_towns("31", "Haute-Garonne", ("Toulouse", "31000", "31555", 12, 43.605, 1.444)),
    *_towns("34", "Hérault", ("Montpellier", "34000", "34172", 10, 43.611, 3.877)),
    *_towns("38", "Isère", ("Grenoble", "38000", "38185", 8, 45.188, 5.725)),
    *_towns("42", "Loire", ("Saint-Étienne", "42000", "42218", 8, 45.44, 4.387)),
    *_towns("76", "Seine-Maritime", ("Rouen", "76000", "76540", 10, 49.443, 1.099)),
    *_towns("51", "Marne", ("Reims", "51100", "51454", 8, 49.258, 4.032)),
    *_towns("54", "Meurthe-et-Moselle", ("Nancy", "54000", "54395", 8, 48.692, 6.184)),
    *_towns("21", "Côte-d'Or", ("Dijon", "21000", "21231", 8, 47.322, 5.041)),
    *_towns("87", "Haute-Vienne", ("Limoges", "87000", "87085", 6, 45.834, 1.262)),
    *_towns("63", "Puy-de-Dôme", ("Clermont-Ferrand", "63000", "63113", 6, 45.777, 3.087)),
    *_towns("06", "Alpes-Maritimes", ("Nice", "06000", "06088", 10, 43.71, 7.262)),
    *_towns("2A", "Corse-du-Sud", ("Ajaccio", "20000", "2A004", 3, 41.919, 8.738)),
    *_towns("2B", "Haute-Corse", ("Bastia", "20200", "2B033", 3, 42.703, 9.45)),
    *_towns("971", "Guadeloupe", ("Les Abymes", "97139", "97101", 3, 16.271, -61.505)),
    *_towns("974", "La Réunion", ("Saint-Denis", "97400", "97411", 5, -20.879, 55.448)),
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
