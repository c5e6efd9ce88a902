"""One import of all sources: whose word is believed, what is added, what contradicts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from miss_protocol.directory import Entry
from miss_server.importers.activities import COLUMNS_52, COLUMNS_56
from miss_server.importers.importing import Allowed, Report, run_import
from miss_server.importers.nomenclatures import (
    PROFESSIONS,
    SPECIALITIES,
    edition,
    editions,
    label,
    labels,
)
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from tests.server.importers.test_importing import NOW, Kept, load
from tests.support import register, sources
from tests.support.register import STAMPED, activity, rpps
from tests.support.sources import establishment, finess, mailbox

GP = "8" + rpps(1)
CH = "1" + finess(1)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def entry(kept: Kept, person: str) -> Entry:
    return msgspec.json.decode(kept.in_force[person].entry, type=Entry)


def everything(folder: Path, kept: Kept, *more: str, **options: Any) -> Report:
    own = folder / "reseau.csv"
    own.write_text(
        "Identifiant national;Nom;Prénom;Téléphone;Nature;Rattachement\n"
        f"{GP};NOM1;Camille;0353010199;;\n"
        f";Cardiologie;;0353010198;service;{CH}\n",
        encoding="utf-8",
    )
    return load(
        kept,
        sources.write_mailboxes(
            folder / sources.MAILBOX_STAMPED,
            mailbox("PER", "camille@fictif.mssante.fr", national=GP, name="NOM1"),
            mailbox("ORG", "contact@ch.mssante.fr", structure=finess(1), organisation="CH ECLUSE"),
            mailbox("ORG", "cardio@ch.mssante.fr", structure=finess(1), service="CARDIOLOGIE"),
            *more,
        ),
        own,
        register.write(folder / STAMPED, activity(1), activity(2)),
        sources.write_establishments(
            folder / sources.ESTABLISHMENTS,
            establishment(finess(1), "Centre hospitalier de l'Écluse"),
        ),
        **options,
    )


def test_sources_are_merged_by_identifier(tmp_path: Path, kept: Kept) -> None:
    report = everything(tmp_path, kept)
    assert (report.people, report.organisations, report.added) == (2, 2, 4)
    assert report.conflict_count == 0
    gp = entry(kept, GP)
    assert gp.sources == ("RPPS", "reseau", "MSSANTE")
    assert gp.mailboxes == ("camille@fictif.mssante.fr",)
    assert [place.phone for place in gp.places] == ["0353010101", "0353010199"]
    hospital = entry(kept, CH)
    assert (hospital.kind, hospital.name) == ("organisation", "Centre hospitalier de l'Écluse")
    assert hospital.mailboxes == ("contact@ch.mssante.fr",)
    assert (hospital.category, hospital.places[0].city) == ("Centre Hospitalier (C.H.)", "LILLE")
    words = kept.in_force[CH].words.split()
    assert {"ch", "hopital", "ecluse", "lille", "59", "nord"} <= set(words)
    service = entry(kept, f"{CH}.cardiologie")
    assert (service.name, service.part_of) == ("Cardiologie", CH)
    assert service.mailboxes == ("cardio@ch.mssante.fr",)


def test_one_address_may_be_of_several_entries_and_is_once_in_each(
    tmp_path: Path, kept: Kept
) -> None:
    shared = "accueil@fictif.mssante.fr"
    report = everything(
        tmp_path,
        kept,
        mailbox("PER", shared, national=GP, name="NOM1"),
        mailbox("PER", shared.upper(), national=GP, name="NOM1", structure=finess(1)),
        mailbox("ORG", shared, structure=finess(1), organisation="CH ECLUSE"),
        mailbox("ORG", shared, structure=finess(1), organisation="CH ECLUSE"),
        mailbox("ORG", shared, organisation="CPTS FICTIVE"),
        mailbox("ORG", shared, organisation="CPTS FICTIVE"),
    )
    assert (report.people, report.organisations, report.conflict_count) == (2, 3, 0)
    assert not any(one.count for one in (*report.rejected, *report.warnings))
    assert entry(kept, GP).mailboxes == ("camille@fictif.mssante.fr", shared)
    assert entry(kept, CH).mailboxes == ("contact@ch.mssante.fr", shared)
    [own] = [key for key in kept.in_force if key.startswith("bal.")]
    assert (entry(kept, own).name, entry(kept, own).mailboxes) == ("CPTS FICTIVE", (shared,))


def test_a_practice_is_not_who_has_its_number(tmp_path: Path, kept: Kept) -> None:
    number = "590012345"
    load(
        kept,
        register.write(tmp_path / STAMPED, activity(1), activity(2, type="0", number=number)),
        sources.write_mailboxes(
            tmp_path / sources.MAILBOX_STAMPED,
            mailbox(
                "CAB", "c@x.fr", structure=number, structure_type="ADELI", organisation="CABINET"
            ),
        ),
    )
    person, practice = entry(kept, "0" + number), entry(kept, "cab." + number)
    assert (person.kind, person.mailboxes, person.other_names) == ("person", (), ())
    assert (practice.kind, practice.name) == ("organisation", "CABINET")


@pytest.mark.parametrize("columns", [COLUMNS_52, COLUMNS_56], ids=["52", "56"])
def test_specialities_come_from_a_file_of_their_own_where_the_activities_have_none(
    tmp_path: Path, kept: Kept, columns: list[str]
) -> None:
    narrow = [column for column in columns if "savoir-faire" not in column]
    assert len(narrow) == len(columns) - 4
    values = activity(1) | {"Libellé civilité d'exercice": "Docteur"}
    people = tmp_path / STAMPED
    lines = ["|".join(narrow) + "|", *(register.row(one, narrow) for one in (values, activity(2)))]
    people.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    report = load(kept, people)
    assert report.without_specialities == [STAMPED]
    assert entry(kept, GP).specialities == ()
    skills = sources.write_skills(
        tmp_path / STAMPED.replace("Personne_activite", "SavoirFaire"),
        (1, "SM04", "Cardiologie"),
        (1, "SM04", "Cardiologie"),
        (1, "SM54", "Médecine générale"),
        (3, "SM04", "Cardiologie"),
    )
    report = load(kept, people, skills)
    assert (report.without_specialities, report.people, report.nameless) == ([], 2, 1)
    one, other = entry(kept, GP), entry(kept, "8" + rpps(2))
    assert one.speciality_codes == ("SM04", "SM54")
    assert one.specialities[0] == label(SPECIALITIES, "SM04", "")
    assert other.specialities == ()
    assert "cardiologue" in kept.in_force[GP].words.split()
    again = load(kept, people, skills)
    assert (again.changed, again.unchanged) == (0, 2)


def test_one_number_under_two_names_is_reported_and_both_find(tmp_path: Path, kept: Kept) -> None:
    other = mailbox("PER", "p@x.mssante.fr", national="8" + rpps(2), name="AUTRE", given="Paul")
    report = everything(tmp_path, kept, other)
    [found] = report.conflicts
    assert found.person == "8" + rpps(2)
    assert found.names == (("RPPS", "Camille NOM2"), ("MSSANTE", "Paul AUTRE"))
    shown = entry(kept, "8" + rpps(2))
    assert (shown.name, shown.other_names) == ("NOM2", ("Paul AUTRE",))
    assert "autre" in kept.in_force[shown.person].words.split()
    assert everything(tmp_path, kept, other).conflict_count == 1, "told again while it lasts"


@pytest.mark.parametrize("name", ["nom2", "NOM2-DURAND", "DURAND NOM2"])
def test_a_name_in_another_spelling_or_a_part_of_it_is_no_conflict(
    tmp_path: Path, kept: Kept, name: str
) -> None:
    line = mailbox("PER", "p@x.mssante.fr", national="8" + rpps(2), name=name)
    assert everything(tmp_path, kept, line).conflict_count == 0


def test_skills_of_a_second_file_are_joined(tmp_path: Path, kept: Kept) -> None:
    report = load(
        kept,
        register.write(tmp_path / STAMPED, activity(1, speciality="")),
        sources.write_skills(tmp_path / "s.txt", (1, "SM04", "CARDIO"), (7, "SM40", "Pédiatrie")),
    )
    assert (report.people, report.nameless) == (1, 1)
    assert entry(kept, GP).specialities == ("Cardiologie et Maladies vasculaires",)
    assert entry(kept, GP).speciality_codes == ("SM04",)
    assert "cardiologue" in kept.in_force[GP].words.split()


def test_labels_are_the_official_ones_and_unknown_codes_survive(tmp_path: Path, kept: Kept) -> None:
    assert label(PROFESSIONS, "40", "CHIRURGIEN DENTISTE") == "Chirurgien-Dentiste"
    assert label(PROFESSIONS, "199", "Nouveau métier") == "Nouveau métier"
    assert label(PROFESSIONS, "199", "") == "199"
    assert len(labels(PROFESSIONS)) == 30
    assert [one.name for one in editions()] == [
        "TRE_G15-ProfessionSante",
        "TRE_R38-SpecialiteOrdinale",
    ]
    assert all(one.version in edition() and one.date in edition() for one in editions())
    load(
        kept,
        register.write(
            tmp_path / STAMPED,
            activity(1, profession_code="199", profession="", speciality_code="ZZ9", speciality=""),
        ),
    )
    shown = entry(kept, GP)
    assert (shown.profession, shown.profession_code) == ("199", "199")
    assert (shown.specialities, shown.speciality_codes) == (("ZZ9",), ("ZZ9",))


def test_only_differences_are_written(tmp_path: Path, kept: Kept) -> None:
    everything(tmp_path, kept)
    same = everything(tmp_path, kept)
    assert (same.added, same.changed, same.gone, same.unchanged) == (0, 0, 0, 4)
    for serial in (3, 4, 5):
        text = register.write(tmp_path / "r.txt", *(activity(n) for n in range(1, serial + 1)))
        load(kept, text, without=("MSSANTE", "FINESS", "reseau"), gone=1.0)
    # What is aside is two imports old: one new person each, and nobody else.
    assert kept.written == ["8" + rpps(4), "8" + rpps(5)]


def test_a_source_that_is_missing_is_asked_for(tmp_path: Path, kept: Kept) -> None:
    everything(tmp_path, kept)
    alone = register.write(tmp_path / STAMPED, activity(1), activity(2))
    with pytest.raises(ImportRefused, match="FINESS") as refusal:
        load(kept, alone)
    assert refusal.value.code == "source_missing"
    assert "--without FINESS" in refusal.value.advice
    report = load(kept, alone, without=("FINESS", "MSSANTE", "reseau"), gone=1.0)
    assert (report.gone, {file.name for file in kept.made_from}) == (2, {"RPPS"})


def test_a_source_that_goes_backwards_is_refused(tmp_path: Path, kept: Kept) -> None:
    load(kept, register.write(tmp_path / STAMPED, activity(1)))
    older = register.write(tmp_path / STAMPED.replace("20260105", "20260104"), activity(1))
    with pytest.raises(ImportRefused, match="2026-01-04") as refusal:
        load(kept, older)
    assert refusal.value.code == "older"
    load(kept, older, older=True)
    assert kept.made_from[0].date == "2026-01-04"


def test_a_source_that_shrinks_by_half_is_refused(tmp_path: Path, kept: Kept) -> None:
    lines = [mailbox("PER", f"p{n}@x.mssante.fr", national=GP, name="NOM1") for n in range(40)]
    everything(tmp_path, kept, *lines)
    with pytest.raises(ImportRefused, match="have 23 lines; those in force had 43") as refusal:
        everything(tmp_path, kept, *lines[:20])
    assert refusal.value.code == "shrunk"
    everything(tmp_path, kept, *lines[:20], gone=0.6)


def test_a_source_that_stands_still_is_told(tmp_path: Path, kept: Kept) -> None:
    first = register.write(tmp_path / STAMPED, activity(1))
    load(kept, first)
    later = first.rename(tmp_path / STAMPED.replace("20260105", "20260114"))
    load(kept, later)
    [file] = kept.made_from
    assert (file.date, file.source.unchanged_since) == ("2026-01-14", "2026-01-05")
    load(kept, register.write(later, activity(2)), gone=1.0)
    assert kept.made_from[0].source.unchanged_since == ""


def split(folder: Path, skills: int, day: str = "20260105") -> tuple[Path, Path]:
    """A register of 200 activities, and so many skills of that day."""
    return (
        register.write(folder / STAMPED, *(activity(n) for n in range(200))),
        sources.write_skills(
            folder / f"PS_LibreAcces_SavoirFaire_{day}0630.txt",
            *((n, "SM04", "Cardiologie") for n in range(skills)),
        ),
    )


def test_activities_do_not_hide_that_half_of_the_skills_is_missing(
    tmp_path: Path, kept: Kept
) -> None:
    load(kept, *split(tmp_path, 40))
    with pytest.raises(ImportRefused, match=r"RPPS \(skills\) have 20 lines; .* had 40") as refusal:
        load(kept, *split(tmp_path, 20))
    assert refusal.value.code == "shrunk"
    with pytest.raises(ImportRefused, match=r"RPPS \(skills\) have 0 lines; .* had 40"):
        load(kept, split(tmp_path, 40)[0])
    load(kept, *split(tmp_path, 20), gone=0.6)
    load(kept, *split(tmp_path, 20))


def test_activities_do_not_hide_that_the_skills_are_of_years_ago(
    tmp_path: Path, kept: Kept
) -> None:
    load(kept, *split(tmp_path, 40))
    with pytest.raises(ImportRefused, match=r"RPPS \(skills\) is of 2024-01-05") as refusal:
        load(kept, *split(tmp_path, 40, "20240105"))
    assert refusal.value.code == "older"
    load(kept, *split(tmp_path, 40, "20240105"), older=True)
    load(kept, *split(tmp_path, 40))


def test_what_was_noted_without_kinds_is_compared_as_a_whole(tmp_path: Path, kept: Kept) -> None:
    load(kept, *split(tmp_path, 40))
    kept.made_from = [replace(file, kind="") for file in kept.made_from]
    load(kept, *split(tmp_path, 30, "20260101"))
    assert [file.kind for file in kept.made_from] == ["activities", "skills"]
    with pytest.raises(ImportRefused, match=r"\(skills\)"):
        load(kept, *split(tmp_path, 10))


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "liste.csv"
    header = "local identifier;kind;name;given name;city;secure mailbox"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("person;PETIT;Anne", "Anne PETIT"),
        ("person;DURAND;Luc", "Luc DURAND"),
        ("service;LABORATOIRE X;", "LABORATOIRE X"),
    ],
    ids=["name", "given name", "kind"],
)
def test_two_of_an_own_list_under_one_number_do_not_become_one(
    tmp_path: Path, kept: Kept, second: str, told: str
) -> None:
    report = load(
        kept,
        listed(
            tmp_path,
            "1;person;DURAND;Zoé;Lille;zoe@x.mssante.fr",
            f"1;{second};Nice;other@x.mssante.fr",
            f"1;{second};Nice;other@x.mssante.fr",
        ),
    )
    assert (report.people, report.organisations, report.conflict_count) == (1, 0, 1)
    [found] = report.conflicts
    assert found.names == (("liste", "Zoé DURAND"), ("liste", told))
    shown = entry(kept, "local.liste.1")
    assert (shown.kind, shown.name, shown.given) == ("person", "DURAND", "Zoé")
    assert (shown.other_names, shown.mailboxes) == ((told,), ("zoe@x.mssante.fr",))
    assert [place.city for place in shown.places] == ["Lille"]
    words = kept.in_force[shown.person].words.split()
    assert told.split()[-1].casefold() in words
    assert "nice" not in words


def test_lines_of_one_in_an_own_list_are_merged(tmp_path: Path, kept: Kept) -> None:
    report = load(
        kept,
        listed(
            tmp_path,
            "1;person;DURAND;Jean-Philippe;Lille;",
            "1;person;Durand-Petit;Ph.;Nice;",
            "1;personne;PETIT;;Lens;",
            "2;organisation;CPTS du Beffroi;;Lille;",
            "2;organisation;CPTS Beffroi;;Douai;",
            "3;person;???;;Lille;",
            "3;person;???;;Lille;",
        ),
    )
    assert report.conflict_count == 0
    assert [place.city for place in entry(kept, "local.liste.1").places] == [
        "Lille",
        "Nice",
        "Lens",
    ]
    assert [place.city for place in entry(kept, "local.liste.2").places] == ["Lille", "Douai"]


def test_two_files_of_an_own_list_that_share_numbers_are_told(tmp_path: Path, kept: Kept) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = listed(tmp_path / "a", "1;;DURAND;Zoé;;", "1;;DURAND;Zoé;Lille;", "A-2;;ROUX;Léa;;")
    second = listed(
        tmp_path / "b", "1;;MARTIN;Ali;;", "a/2;;X;;;", *(f"{n};;N{n};;;" for n in range(3, 200))
    )
    for processes in (0, 1):
        report = run_import(
            [text for path in (first, second) for text in readers(path)],
            Kept(),
            now_ms=NOW,
            allowed=Allowed(rejected=0.02),
            processes=processes,
        )
        assert [line for one in report.warnings for line in one.listed] == [
            ("liste.csv", 2, "a local identifier of another file of this list")
        ]
        assert [line for one in report.rejected for line in one.listed] == [
            ("liste.csv", 3, "a local identifier that another one is written like")
        ]
        [found] = report.conflicts
        assert found.names == (("liste", "Zoé DURAND"), ("liste", "Ali MARTIN"))
