from collections import Counter
from pathlib import Path

import msgspec
import pytest

from miss_protocol.directory import Entry
from miss_server.importers.fictive_names import plain
from miss_server.importers.generate import DEMO_PEOPLE, generate, generate_all
from miss_server.importers.importing import Report
from miss_server.importers.lines import Line
from tests.server.importers.test_importing import Kept, load
from tests.support import register

PEOPLE = 2000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("register") / "f.txt"
    generate(path, people=PEOPLE, seed=7)
    return path


@pytest.fixture(scope="module")
def activities(path: Path) -> list[Line]:
    file = register.reader(path)
    lines = register.lines(file)
    assert file.rejected.count == 0, file.rejected.listed
    return lines


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(
    path: Path, tmp_path: Path
) -> None:
    generate(tmp_path / "a", people=PEOPLE, seed=7)
    generate(tmp_path / "b", people=PEOPLE, seed=8)
    assert (tmp_path / "a").read_bytes() == path.read_bytes() != (tmp_path / "b").read_bytes()


def test_every_line_has_57_columns_the_last_one_empty(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("|\n")
    for line in text.splitlines():
        assert line.count("|") == 56
        assert line.endswith("|")


def test_the_number_of_people_is_the_one_asked_for(activities: list[Line]) -> None:
    assert len({line.key for line in activities}) == PEOPLE < len(activities)


def test_it_has_the_oddities_of_real_files(activities: list[Line]) -> None:
    by_person: dict[str, set[str]] = {}
    for line in activities:
        by_person.setdefault(line.key, set()).add(line.name)
    assert any(len(spellings) > 1 for spellings in by_person.values())
    assert any(not line.commune and "CEDEX" in line.cedex for line in activities)
    assert any(line.postcode and not line.postcode.isdecimal() for line in activities)
    assert any(line.country for line in activities)
    assert any(not line.organisation for line in activities)
    assert {line.key[0] for line in activities} == {"0", "8"}
    assert any("-" in line.name for line in activities)
    assert any("'" in line.name for line in activities)
    assert any(" " in line.name for line in activities)
    assert any(not line.name.isascii() for line in activities)


def test_it_is_distributed_as_a_country_with_a_full_north(activities: list[Line]) -> None:
    departments = Counter(line.department_code for line in activities)
    assert departments.most_common(1)[0][0] == "59"
    assert len(departments) > 20
    professions = Counter(line.profession for line in activities)
    assert [name for name, _ in professions.most_common(2)] == ["Infirmier", "Médecin"]
    for line in activities:
        if line.city and line.department_code.isdecimal():
            assert line.postcode.startswith(line.department_code)


def test_nobody_has_a_number_that_the_register_gives_out(activities: list[Line]) -> None:
    assert {line.key[1:3] for line in activities} == {"99", "00"}
    assert {line.phone[:7] for line in activities if line.phone} <= {
        "0199000", "0261910", "0353010", "0465710", "0536490",
    }  # fmt: skip


def test_the_people_of_the_demo_are_always_there(tmp_path: Path) -> None:
    generate(tmp_path / "f", people=1, seed=99)
    written = register.lines(register.reader(tmp_path / "f"))
    lines = {line.key: line for line in reversed(written)}
    assert lines.keys() == {person.national for person in DEMO_PEOPLE.values()}
    assert {line.city for line in lines.values()} == {"Lille"}
    assert lines[DEMO_PEOPLE["gp"].national].speciality == "Médecine Générale"
    cardiologist = lines[DEMO_PEOPLE["cardiologist"].national]
    assert cardiologist.speciality.startswith("Cardiologie")
    assert "-" in cardiologist.name
    assert not cardiologist.name.isascii()
    assert lines[DEMO_PEOPLE["pharmacist"].national].profession == "Pharmacien"
    assert lines[DEMO_PEOPLE["nurse"].national].profession == "Infirmier"


def test_the_older_layout_and_the_byte_order_mark_can_be_had(tmp_path: Path) -> None:
    generate(tmp_path / "old", people=50, seed=1, columns=52, bom=True)
    generate(tmp_path / "new", people=50, seed=1)
    assert (tmp_path / "old").read_bytes().startswith(b"\xef\xbb\xbfType")
    assert (tmp_path / "old").read_text(encoding="utf-8-sig").splitlines()[0].count("|") == 52
    old, new = (register.reader(tmp_path / name) for name in ("old", "new"))
    assert register.lines(old) == register.lines(new)


def test_a_file_appears_only_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("miss_server.importers.generate._person", stop)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "f", people=10, seed=1)
    assert not (tmp_path / "f").exists()


def test_a_whole_edition_is_of_one_nation(tmp_path: Path) -> None:
    written = generate_all(tmp_path, people=3000, seed=3, stamp="202601050630")
    texts = [register.reader(path) for path in written[:3]]
    read = [register.lines(text) for text in texts]
    communes = register.reader(written.communes)
    settled = len(list(communes.rows()))
    assert [text.source for text in (*texts, communes)] == ["RPPS", "MSSANTE", "FINESS", "COMMUNES"]
    assert [text.rejected.count for text in (*texts, communes)] == [0, 0, 0, 0]
    assert sum(len(lines) for lines in read) + settled == written.lines
    activities, mailboxes, establishments = read
    people = {line.key for line in activities}
    sites = {line.key for line in establishments}
    persons = [line for line in mailboxes if not line.kind]
    organisations = [line for line in mailboxes if line.kind]
    assert {line.key for line in persons} < people
    assert 0.25 < len(persons) / len(people) < 0.4
    assert {line.key.split(".")[0] for line in organisations} < sites
    assert any(line.parent for line in organisations)
    names = {line.key: plain(line.name).upper() for line in reversed(activities)}
    assert any(line.name != names[line.key] for line in persons), "somebody has another name"
    employed = [line.finess for line in activities if line.finess]
    known = sum(f"1{number}" in sites for number in employed)
    assert 0.7 < known / len(employed) < 0.95, "an older file lacks some"
    towns = {line.key: (line.postcode, line.name) for line in establishments}
    assert all(
        towns[f"1{line.finess}"] == (line.postcode, line.organisation)
        for line in activities
        if f"1{line.finess}" in towns
    )
    again = generate_all(tmp_path / ".." / tmp_path.name, people=3000, seed=3, stamp="202601050631")
    assert again.mailboxes.read_bytes() == written.mailboxes.read_bytes()
    assert len(list(tmp_path.glob("*.part"))) == 0


def imported(files: list[Path]) -> tuple[Kept, Report]:
    kept = Kept()
    return kept, load(kept, *files)


@pytest.mark.parametrize("zipped", [False, True], ids=["texts", "archives"])
def test_the_variants_make_the_same_directory(tmp_path: Path, zipped: bool) -> None:
    usual, variant = tmp_path / "usual", tmp_path / "variant"
    usual.mkdir()
    variant.mkdir()
    stamp = "202601050630"
    written = generate_all(usual, people=1500, seed=3, stamp=stamp)
    split = generate_all(
        variant, people=1500, seed=3, stamp=stamp, split_skills=True, own_list=True, zipped=zipped
    )
    assert [path.suffix for path in split.files].count(".zip") == (2 if zipped else 0)
    assert sorted(variant.iterdir()) == sorted(split.files)
    before, _ = imported(written.files)
    after, report = imported(split.files)
    assert (report.without_specialities, report.nameless) == ([], 0)
    assert sum(one.count for one in report.rejected) == 0
    assert report.lines == split.lines > written.lines
    skilled = 0
    for person, record in before.in_force.items():
        one, other = (
            msgspec.json.decode(it.entry, type=Entry) for it in (record, after.in_force[person])
        )
        assert set(one.speciality_codes) == set(other.speciality_codes)
        skilled += bool(other.speciality_codes)
    assert skilled > 100
    own = [
        msgspec.json.decode(after.in_force[key].entry, type=Entry)
        for key in after.in_force.keys() - before.in_force.keys()
    ]
    people = [one for one in own if one.kind == "person"]
    assert len(people) == 15
    assert all(one.part_of in after.in_force for one in people)
    assert [one.kind for one in own].count("organisation") == 1
