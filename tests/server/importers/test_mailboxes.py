from pathlib import Path

import pytest

from miss_server.importers.lines import Line
from miss_server.importers.readers import Reader
from tests.support import register, sources
from tests.support.register import rpps
from tests.support.sources import finess, mailbox

GP = "8" + rpps(1)


def read(path: Path, *lines: str, test_identifiers: bool = False) -> tuple[Reader, list[Line]]:
    file = sources.write_mailboxes(path / sources.MAILBOX_STAMPED, *lines)
    reader = register.reader(file, test_identifiers=test_identifiers)
    return reader, register.lines(reader)


def test_a_persons_mailbox_is_joined_by_the_national_identifier(tmp_path: Path) -> None:
    reader, [line] = read(
        tmp_path, mailbox("PER", "Camille.NOM1@Fictif.MSSante.fr", national=GP, name="NOM1")
    )
    assert (reader.source, reader.lines) == ("MSSANTE", 1)
    assert (line.key, line.kind, line.mailbox) == (GP, "", "camille.nom1@fictif.mssante.fr")


def test_organisations_and_their_services_have_identifiers(tmp_path: Path) -> None:
    number = finess(1)
    _, lines = read(
        tmp_path,
        mailbox("ORG", "contact@ch.mssante.fr", structure=number, organisation="CH Fictif"),
        mailbox(
            "ORG",
            "cardio@ch.mssante.fr",
            structure=number,
            service="Cardiologie",
            organisation="CH Fictif",
        ),
        mailbox("APP", "labo@ch.mssante.fr", structure="1" + number, organisation="CH Fictif"),
        mailbox(
            "ORG",
            "x@y.mssante.fr",
            structure="12345678901234",
            structure_type="SIRET",
            organisation="SELARL",
        ),
    )
    assert [(line.key, line.kind, line.name, line.parent) for line in lines] == [
        ("1" + number, "o", "CH Fictif", ""),
        (f"1{number}.cardiologie", "o", "Cardiologie", "1" + number),
        ("1" + number, "o", "CH Fictif", ""),
        ("312345678901234", "o", "SELARL", ""),
    ]


def test_without_any_number_the_address_makes_the_identifier(tmp_path: Path) -> None:
    _, [person, organisation] = read(
        tmp_path,
        mailbox("PER", "secretariat@x.mssante.fr", name="AIDE", structure=finess(1)),
        mailbox("ORG", "cpts@x.mssante.fr", organisation="CPTS fictive"),
    )
    assert person.key.startswith("bal.")
    assert (person.kind, person.parent) == ("", "1" + finess(1))
    assert organisation.key.startswith("bal.")
    assert organisation.key != person.key
    assert organisation.kind == "o"


def test_lines_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    wrong = finess(1)[:-1] + str((int(finess(1)[-1]) + 1) % 10)
    lines = (
        mailbox("PER", "no address", national=GP, name="X"),
        mailbox("XXX", "a@b.fr", national=GP, name="X"),
        mailbox("PER", "a@b.fr", national=GP),
        mailbox("PER", "a@b.fr", national="8123", name="X"),
        mailbox("ORG", "a@b.fr", structure=wrong, organisation="CH"),
        mailbox("ORG", "a@b.fr", structure="12", structure_type="IDNAT", organisation="CH"),
    )
    reader, read_lines = read(tmp_path, *lines)
    assert read_lines == []
    assert [why for _, _, why in reader.rejected.listed] == [
        "no mailbox address",
        "unknown type of mailbox",
        "no name",
        "an RPPS identifier has eleven digits",
        "the check digit of the FINESS number is wrong",
        "unknown identifier of a structure",
    ]
    reader, read_lines = read(tmp_path, *lines, test_identifiers=True)
    assert [line.key for line in read_lines] == ["8123", "1" + wrong]
    assert reader.warnings.count == 2


@pytest.mark.parametrize("address", ["a@b", "@b.fr", "a b@c.fr", "a@b.fr@c.fr", "x" * 65 + "@b.fr"])
def test_what_is_no_address_is_left_out(tmp_path: Path, address: str) -> None:
    reader, lines = read(tmp_path, mailbox("ORG", address, organisation="CH"))
    assert (lines, reader.rejected.reasons) == ([], {"no mailbox address": 1})


@pytest.mark.parametrize(
    ("kind", "number", "key"),
    [
        ("FINESS", finess(1), "1" + finess(1)),
        ("1", "1" + finess(1), "1" + finess(1)),
        ("SIREN", "123 456 789", "2123456789"),
        ("2", "123456789", "2123456789"),
        ("Siret", "12345678901234", "312345678901234"),
        ("RPPS-rang", "99000000001001", "499000000001001"),
        ("RPPS rang", "99000000001001", "499000000001001"),
        ("4", "99000000001001", "499000000001001"),
        ("ADELI", "590012345", "cab.590012345"),
        ("0", "590012345", "cab.590012345"),
    ],
)
def test_a_structure_is_known_by_any_of_its_numbers(
    tmp_path: Path, kind: str, number: str, key: str
) -> None:
    named = {"structure": number, "structure_type": kind, "organisation": "CABINET FICTIF"}
    reader, [practice, service, person] = read(
        tmp_path,
        mailbox("CAB", "cabinet@x.mssante.fr", **named),
        mailbox("ORG", "secretariat@x.mssante.fr", service="SECRETARIAT", **named),
        mailbox("PER", "aide@x.mssante.fr", name="AIDE", **named),
    )
    assert (reader.rejected.count, reader.warnings.count) == (0, 0)
    assert (practice.key, practice.kind, practice.name) == (key, "o", "CABINET FICTIF")
    assert (service.key, service.parent) == (f"{key}.secretariat", key)
    assert (person.kind, person.parent) == ("", key)


def test_a_structure_within_a_number_is_none(tmp_path: Path) -> None:
    line = mailbox("CAB", "a@b.fr", structure="123/4", structure_type="SIREN", organisation="X")
    reader, lines = read(tmp_path, line, test_identifiers=True)
    assert (lines, reader.rejected.reasons) == ([], {"unknown identifier of a structure": 1})


def test_people_whom_a_structure_numbers_are_kept(tmp_path: Path) -> None:
    within = f"3{finess(1)}/S-12"
    wrong = f"3{finess(1)[:-1]}{(int(finess(1)[-1]) + 1) % 10}/S-12"
    lines = [
        mailbox("PER", f"{n}@b.fr", national=national, name="AIDE", structure=finess(1))
        for n, national in enumerate((within, wrong))
    ]
    reader, [person] = read(tmp_path, *lines)
    assert (person.key, person.kind) == (within, "")
    assert reader.rejected.reasons == {"the check digit of the FINESS number is wrong": 1}
    reader, found = read(tmp_path, *lines, test_identifiers=True)
    assert [line.key for line in found] == [within, wrong]
    assert reader.warnings.count == 1
