"""Lists of people as technicians' spreadsheets leave them: each oddity read, or told with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_server.admin.people_lists import LIST_MAX, ListError, PeopleList, read_people

TWO = ["899000000010", "899000000028"]


@pytest.mark.parametrize(
    "content",
    [
        b"899000000010\n899000000028\n",
        b"899000000010\r\n899000000028",
        b"\xef\xbb\xbfperson\r\n899000000010\r\n\r\n899000000028\r\n",
        "nom;identifiant\nDupré;899000000010\nÉlan;899000000028\n".encode(),
        "nom;identifiant\nDupré;899000000010\nÉlan;899000000028\n".encode("cp1252"),
        "\ufeffNom\tN° RPPS\nDupré\t99000000010\nÉlan\t99000000028\n".encode("utf-16"),
        b"Identification nationale PP,Name\n899000000010,x\n899000000028,y\n",
        b'"Identifiant PP"|"x"\n"899000000010"|""\n"899000000028"|""\n|\n',
        b";;;\n\nperson;name\n899000000010;a\n;\n899000000028;b\n;;\n",
        b'="899000000010"\n\'8 990 000 000 28\n',
        "8\u00a0990\u202f000 000 10\n899000000028\n".encode(),
    ],
)
def test_a_list_is_read(content: bytes) -> None:
    found = read_people(content)
    assert list(found.lines) == TWO
    assert found.faults == []
    assert found.doubles == []


def test_the_line_of_each_person_and_fault_is_told() -> None:
    found = read_people(
        b'person;name\n899000000010;a\n\n8,99E+11;b\n;c\n"899;d\n'
        + b"9" * 97
        + b";e\n899000000028;f\n899000000010;g\n"
    )
    assert found.lines == {TWO[0]: 2, TWO[1]: 8}
    assert [fault.line for fault in found.faults] == [4, 5, 6, 7]
    assert "shortened" in found.faults[0].why.en
    assert "tableur" in found.faults[0].why.fr
    assert found.doubles == [(9, TWO[0])]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n ;;\n", "empty"),
        (b"person\n", "nobody"),
        (b"name;town\nx;y\n", "no column"),
        (b"PK\x03\x04\x00\x00", "no text"),
        (b"\xff\xfe\x00", "no text"),
        (b"\x81\x8d\x90", "no text"),
        (b"1\n" * (LIST_MAX // 2 + 1), "8 MiB"),
    ],
)
def test_what_is_no_list_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ListError, match=said):
        read_people(content)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_list_or_refused(content: bytes) -> None:
    try:
        found = read_people(content)
    except ListError:
        return
    assert isinstance(found, PeopleList)
    assert all(one and one.isprintable() for one in found.lines)
