import pytest

from miss_server.importers.activities import COLUMNS_52, COLUMNS_56, ActivityReader
from miss_server.importers.archives import Text
from miss_server.importers.columns import column_key, places
from miss_server.importers.refusal import ImportRefused

NEEDED, OPTIONAL = ActivityReader.NEEDED, ActivityReader.OPTIONAL


@pytest.mark.parametrize(("columns", "count"), [(COLUMNS_56, 56), (COLUMNS_52, 52)])
def test_both_generations_are_read(columns: list[str], count: int) -> None:
    assert len(columns) == count
    found = places(columns, NEEDED, OPTIONAL)
    assert found.keys() == {*NEEDED, *OPTIONAL}
    assert column_key(columns[found["title"]]) == "libelle civilite exercice"
    assert column_key(columns[found["department"]]).startswith("libelle departement")


def test_columns_are_found_by_name_in_any_order_and_spelling() -> None:
    columns = [column.upper().replace("'", "’").replace("É", "E") for column in COLUMNS_56[::-1]]
    assert places(columns, NEEDED, OPTIONAL)["name"] == columns.index("NOM D’EXERCICE")


@pytest.mark.parametrize("needed", NEEDED.values())
def test_a_missing_column_is_named(needed: str) -> None:
    with pytest.raises(ImportRefused) as refusal:
        places([column for column in COLUMNS_56 if column != needed], NEEDED, OPTIONAL)
    assert refusal.value.code == "column_missing"
    assert needed in refusal.value.reason
    assert refusal.value.advice


def test_a_column_that_is_there_twice_is_named() -> None:
    with pytest.raises(ImportRefused, match=r"Nom d'exercice.*twice"):
        places([*COLUMNS_56, "NOM D'EXERCICE"], NEEDED, OPTIONAL)


def test_the_variant_without_specialities_is_read() -> None:
    columns = [column for column in COLUMNS_56 if "savoir-faire" not in column]
    assert "speciality" not in places(columns, NEEDED, OPTIONAL)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_another_separator_is_refused(separator: str) -> None:
    reader = ActivityReader(Text("f.txt", 0, 0, 0, lambda: open("/dev/null", "rb")))  # noqa: SIM115
    with pytest.raises(ImportRefused, match="not separated by"):
        reader.begin(separator.join(COLUMNS_56) + separator)
