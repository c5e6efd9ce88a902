from pathlib import Path

import pytest

from miss_server.importers.activities import COLUMNS_52, COLUMNS_56
from miss_server.importers.faults import LISTED_MAX
from miss_server.importers.readers import LINE_MAX, Reader
from miss_server.importers.refusal import ImportRefused
from tests.support import register, sources
from tests.support.register import STAMPED, STAMPED_DATE, activity, row

HEADER = "|".join(COLUMNS_56) + "|\n"


def read(path: Path, content: bytes | str) -> Reader:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return register.reader(path)


def reasons(file: Reader) -> list[tuple[int, str]]:
    return [(line, why) for _, line, why in file.rejected.listed]


def test_fields_are_read_by_name_and_stripped(tmp_path: Path) -> None:
    file = register.reader(register.write(tmp_path / STAMPED, activity(1, name="  DURANDEAU ")))
    (line,) = register.lines(file)
    assert (line.name, line.given, line.city, line.street_index) == (
        "DURANDEAU",
        "Camille",
        "Lille",
        "",
    )
    assert (file.lines, file.rejected.count, file.read) == (1, 0, file.size)


def test_a_byte_order_mark_crlf_and_empty_lines_are_let_pass(tmp_path: Path) -> None:
    content = register.text(activity(1), activity(2)).replace("\n", "\r\n") + "\r\n"
    file = read(tmp_path / "f.txt", b"\xef\xbb\xbf" + content.encode())
    assert [line.key for line in register.lines(file)] == ["8" + register.rpps(n) for n in (1, 2)]
    assert file.lines == 2


def test_the_generation_of_2021_gives_the_same(tmp_path: Path) -> None:
    new = activity(1)
    old = new | {
        "Libellé civilité d'exercice": "Docteur",
        "Code Département (structure)": "59",
        "Libellé Département (structure)": "Nord",
    }
    content = "|".join(COLUMNS_52) + "|\n" + row(old, COLUMNS_52) + "\n"
    (before,) = register.lines(read(tmp_path / "old.txt", content))
    (after,) = register.lines(register.reader(register.write(tmp_path / "new.txt", new)))
    assert before == after


def test_lines_that_cannot_be_used_are_left_out_with_number_and_reason(tmp_path: Path) -> None:
    lines = [
        row(activity(1)),
        "x|y|",
        row(activity(2)) + "|",
        row(activity(3, name="NOM\x1b[2J")),
        row(activity(4, name="")),
        row(activity(5, number="12345678901")),
        row(activity(6)),
    ]
    file = read(tmp_path / "f.txt", HEADER + "\n".join(lines) + "\n")
    assert [line.name for line in register.lines(file)] == ["NOM1", "NOM6"]
    assert reasons(file) == [
        (3, "too few columns"),
        (4, "too many columns"),
        (5, "a control character"),
        (6, "no name"),
        (7, "the check digit of the RPPS identifier is wrong"),
    ]
    assert file.lines == 7


@pytest.mark.parametrize("header_ends", [False, True])
def test_lines_may_end_with_a_separator_that_their_header_has_not(
    tmp_path: Path, header_ends: bool
) -> None:
    lines = [row(activity(1)), row(activity(2))[:-1], row(activity(3)) + "|"]
    header = HEADER if header_ends else HEADER.replace("|\n", "\n")
    file = read(tmp_path / "f.txt", header + "\n".join([*lines, row(activity(4))]) + "\n")
    kept = ["NOM1", "NOM4"] if header_ends else ["NOM1", "NOM2", "NOM4"]
    assert [line.name for line in register.lines(file)] == kept
    assert reasons(file)[-1] == (4, "too many columns")
    assert file.rejected.count == (2 if header_ends else 1)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("1", "590012345/12"),
        ("3", sources.finess(1) + "/S-12"),
        ("4", "123456789/12"),
        ("5", "12345678901234/12"),
        ("6", "99000000001001/12"),
    ],
)
def test_people_whom_a_structure_numbers_are_kept(tmp_path: Path, kind: str, number: str) -> None:
    file = register.reader(
        register.write(tmp_path / "f.txt", activity(1, type=kind, number=number), activity(2))
    )
    assert [line.key for line in register.lines(file)] == [kind + number, "8" + register.rpps(2)]
    assert (file.rejected.count, file.warnings.count) == (0, 0)


def test_a_wrong_number_of_an_establishment_makes_nobody_its_own(tmp_path: Path) -> None:
    right = sources.finess(1)
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    people = [
        activity(n, finess=finess) for n, finess in enumerate((right, wrong, "", "12 3", wrong))
    ]
    path = register.write(tmp_path / "f.txt", *people)
    file = register.reader(path)
    assert [line.finess for line in register.lines(file)] == [right, "", "", "", ""]
    assert (file.rejected.count, file.warnings.count) == (0, 3)
    assert [line for _, line, _ in file.warnings.listed] == [3, 5, 6]
    tried = register.reader(path, test_identifiers=True)
    assert [line.finess for line in register.lines(tried)] == [right, wrong, "", "", wrong]
    assert tried.warnings.count == 3


def test_latin_1_lines_are_left_out(tmp_path: Path) -> None:
    lines = [row(activity(1)).encode(), row(activity(2, name="LEFÉVÈRE")).encode("latin-1")]
    file = read(tmp_path / "f.txt", HEADER.encode() + b"\n".join(lines) + b"\n")
    assert len(register.lines(file)) == 1
    assert reasons(file) == [(3, "not UTF-8")]


def test_listed_faults_are_bounded_and_all_counted(tmp_path: Path) -> None:
    count = LISTED_MAX + 5
    file = read(tmp_path / "f.txt", HEADER + "x\n" * count + row(activity(1)) + "\n")
    assert len(register.lines(file)) == 1
    assert (file.rejected.count, len(file.rejected.listed)) == (count, LISTED_MAX)
    assert file.rejected.reasons == {"too few columns": count}


def test_test_identifiers_are_kept_with_a_warning(tmp_path: Path) -> None:
    path = register.write(
        tmp_path / "f.txt",
        activity(1, type="", number="ANS20231122132732"),
        activity(2, number="99999999999"),
        activity(3, number="a b"),
    )
    file = register.reader(path, test_identifiers=True)
    assert [line.key for line in register.lines(file)] == ["ANS20231122132732", "899999999999"]
    assert (file.warnings.count, file.rejected.count) == (2, 1)


@pytest.mark.parametrize("end", [1, 2, 20, 200])
def test_half_a_file_is_refused(tmp_path: Path, end: int) -> None:
    whole = register.text(activity(1), activity(2)).encode()
    file = read(tmp_path / "f.txt", whole[:-end])
    with pytest.raises(ImportRefused, match="cut short"):
        register.lines(file)


def test_a_last_line_with_too_few_columns_is_half_a_file(tmp_path: Path) -> None:
    file = read(tmp_path / "f.txt", register.text(activity(1)) + "8|980|\n")
    with pytest.raises(ImportRefused, match="cut short"):
        register.lines(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"PK\x03\x04" + bytes(100), "archive"),
        (HEADER.encode("latin-1"), "not UTF-8"),
        (HEADER.encode()[:-1], "cut short"),
        (b"x" * (LINE_MAX + 10), "any known source"),
        (HEADER.encode()[:-1] + b"x|" * LINE_MAX, "more than"),
        (HEADER.encode() + b"x" * (LINE_MAX + 10), "Line 2"),
    ],
)
def test_a_file_that_is_none_is_refused_with_advice(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(ImportRefused, match=reason) as refusal:
        register.lines(read(tmp_path / "f.txt", content))
    assert refusal.value.advice


def test_the_date_is_that_of_the_name_else_of_the_file(tmp_path: Path) -> None:
    import os

    path = register.write(tmp_path / STAMPED, activity(1))
    os.utime(path, (1_000_000, 1_000_000))
    assert register.reader(path).date_ms == 1767594600000, STAMPED_DATE
    for name in ("f.txt", "f_20261399000000.txt"):
        other = path.rename(tmp_path / name)
        assert register.reader(other).date_ms == 1_000_000_000
        path = other
