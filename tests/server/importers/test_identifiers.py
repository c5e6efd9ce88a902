import pytest

from miss_server.importers.identifiers import (
    fault,
    luhn_key,
    passes_luhn,
    storable,
    structure_of,
)
from tests.support.register import rpps
from tests.support.sources import finess


def test_the_key_is_that_of_the_published_example() -> None:
    # ISO/IEC 7812-1, annex B: 7992739871 has the key 3.
    assert luhn_key("7992739871") == "3"


@pytest.mark.parametrize("serial", [0, 1, 7, 12345])
def test_one_changed_digit_fails(serial: int) -> None:
    number = rpps(serial)
    assert passes_luhn(number)
    for place, digit in enumerate(number):
        changed = number[:place] + str((int(digit) + 1) % 10) + number[place + 1 :]
        assert not passes_luhn(changed)


@pytest.mark.parametrize(
    ("kind", "number", "national", "wrong"),
    [
        ("8", rpps(1), "8" + rpps(1), None),
        ("0", "590012345", "0590012345", None),
        ("0", "2A0012345", "02A0012345", None),
        ("8", rpps(1), "0" + rpps(1), "type digit"),
        ("8", rpps(1)[:-1] + str((int(rpps(1)[-1]) + 1) % 10), None, "check digit"),
        ("8", "123", None, "eleven digits"),
        ("8", "١٢٣٤٥٦٧٨٩٠١", None, "eleven digits"),
        ("0", "12345678", None, "nine digits"),
        ("5", "12345678901234", None, "unknown type"),
        ("", "", "", "unknown type"),
        ("1", "590012345/12", None, None),
        ("3", finess(1) + "/S-12", None, None),
        ("3", "2A0000018/0001", None, None),
        ("4", "123456789/12", None, None),
        ("5", "12345678901234/12", None, None),
        ("6", "99000000001001/12", None, None),
        ("3", "599900019/12", None, "check digit of the FINESS"),
        ("3", "599900018/", None, "a number within it"),
        ("3", "599900018/1/2", None, "a number within it"),
        ("3", "599900018/\u00e9", None, "a number within it"),
        ("5", "599900018/12", None, "a number within it"),
        ("2", "123456789/12", None, "unknown type"),
        ("8", rpps(1) + "/12", None, "eleven digits"),
    ],
)
def test_a_fault_is_named(kind: str, number: str, national: str | None, wrong: str | None) -> None:
    found = fault(kind, number, national if national is not None else kind + number)
    assert found is None if wrong is None else found is not None and wrong in found


@pytest.mark.parametrize(
    ("national", "kept"),
    [
        ("ANS20231122132732", True),
        ("8123", True),
        ("", False),
        ("8 1", False),
        ("8" * 33, False),
        ("3599900019/12", True),
        ("3599900019/", False),
        ("3/1/2", False),
        ("/1", False),
    ],
)
def test_test_identifiers_are_letters_and_digits(national: str, kept: bool) -> None:
    assert storable(national) is kept


@pytest.mark.parametrize(
    ("person", "structure"),
    [
        ("1590012345/12", "cab.590012345"),
        ("3599900019/S-12", "1599900019"),
        ("4123456789/1", "2123456789"),
        ("512345678901234/1", "312345678901234"),
        ("699000000001001/1", "499000000001001"),
        ("2123456789/1", ""),
        ("810000000017", ""),
        ("1590000014", ""),
        ("local.members.7", ""),
        ("/1", ""),
        ("", ""),
    ],
)
def test_who_is_numbered_by_a_structure_names_it(person: str, structure: str) -> None:
    assert structure_of(person) == structure
