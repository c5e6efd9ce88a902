import pytest

from miss_server.importers.layout import (
    COLUMNS_52,
    COLUMNS_56,
    FIELDS,
    NEEDED,
    column_key,
    read_header,
)
from miss_server.importers.refusal import ImportRefused


def header(columns: list[str]) -> str:
    return "|".join(columns) + "|"


@pytest.mark.parametrize(("columns", "count"), [(COLUMNS_56, 56), (COLUMNS_52, 52)])
def test_both_generations_are_read(columns: list[str], count: int) -> None:
    assert len(columns) == count
    layout = read_header(header(columns))
    assert layout.width == count + 1
    assert layout.specialities
    found = {field: columns[place] for field, place in zip(FIELDS, layout.places, strict=True)}
    assert column_key(found["title"]) == "libelle civilite exercice"
    assert column_key(found["department"]).startswith("libelle departement")


def test_columns_are_found_by_name_in_any_order_and_spelling() -> None:
    columns = [column.upper().replace("'", "’").replace("É", "E") for column in COLUMNS_56[::-1]]
    layout = read_header(header(columns))
    assert layout.places[FIELDS.index("name")] == columns.index("NOM D’EXERCICE")


def test_a_column_more_or_without_the_trailing_separator_is_fine() -> None:
    assert read_header("|".join([*COLUMNS_56, "Nouvelle colonne"])).width == 57


@pytest.mark.parametrize("needed", NEEDED.values())
def test_a_missing_column_is_named(needed: str) -> None:
    columns = [column for column in COLUMNS_56 if column != needed]
    with pytest.raises(ImportRefused) as refusal:
        read_header(header(columns))
    assert needed in refusal.value.reason
    assert refusal.value.advice


def test_a_column_that_is_there_twice_is_named() -> None:
    with pytest.raises(ImportRefused, match="Nom d'exercice.*twice"):
        read_header(header([*COLUMNS_56, "NOM D'EXERCICE"]))


def test_the_variant_without_specialities_is_read() -> None:
    layout = read_header(header([c for c in COLUMNS_56 if "savoir-faire" not in c]))
    assert not layout.specialities
    assert layout.places[FIELDS.index("speciality")] == -1


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_another_separator_is_refused(separator: str) -> None:
    with pytest.raises(ImportRefused, match="not separated by"):
        read_header(header(COLUMNS_56).replace("|", separator))
