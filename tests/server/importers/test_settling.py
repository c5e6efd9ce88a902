"""Which commune an address is in that leaves it open."""

import pytest

from miss_server.importers.lines import Line
from miss_server.importers.settling import Settling
from miss_server.storage.geography import Commune, Geography

COMMUNES = Geography(
    [
        Commune("59350", "Lille", None, ("59000", "59800")),
        Commune("01034", "Belley", None, ("01300",)),
        Commune("2A004", "Ajaccio", None, ("20000",)),
        Commune("97411", "Saint-Denis", None, ("97400",)),
        Commune("75056", "Paris", None, ("75001", "75015")),
        Commune("93066", "Saint-Denis", None, ("93200",)),
    ]
)


@pytest.mark.parametrize(
    ("cedex", "postcode", "department", "settled"),
    [
        ("59037 LILLE CEDEX", "", "", ("59037", "LILLE", "59350")),
        ("LILLE CEDEX", "", "59", ("", "LILLE", "59350")),
        ("Lille Cedex 9", "", "059", ("", "Lille", "59350")),
        ("BELLEY CEDEX", "", "1", ("", "BELLEY", "01034")),
        ("AJACCIO CEDEX", "", "2A", ("", "AJACCIO", "2A004")),
        ("SAINT-DENIS CEDEX", "", "974", ("", "SAINT-DENIS", "97411")),
        ("PARIS CEDEX 15", "", "75", ("", "PARIS", "75056")),
        ("PARIS CEDEX 15", "75015", "75", ("75015", "PARIS", "75115")),
        ("LILLE CEDEX", "", "", ("", "LILLE", "")),
        ("LILLE CEDEX", "", "62", ("", "LILLE", "")),
        ("BP 40012", "", "59", ("", "", "")),
        ("CEDEX", "", "59", ("", "", "")),
        ("59037 CEDEX 9", "", "59", ("59037", "", "")),
    ],
)
def test_a_town_of_the_bureau_cedex_counts(
    cedex: str, postcode: str, department: str, settled: tuple[str, str, str]
) -> None:
    line = Line("x", cedex=cedex, postcode=postcode, department_code=department)
    found = Line(*Settling(COMMUNES).settled(line))
    assert (found.postcode, found.city, found.commune) == settled


def test_a_town_that_the_source_names_stays() -> None:
    line = Line("x", cedex="LILLE CEDEX", city="Lomme", department_code="59")
    assert Line(*Settling(COMMUNES).settled(line))[:-1] == line[:-1]
