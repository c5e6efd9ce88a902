import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from miss_server.importers import archives
from miss_server.importers.archives import stamped
from miss_server.importers.recognising import readers
from miss_server.importers.refusal import ImportRefused
from tests.support import register, sources
from tests.support.register import STAMPED, activity


def packed(path: Path, **members: str | bytes) -> Path:
    return packed_by(zipfile.ZIP_DEFLATED, path, members)


def packed_by(method: int, path: Path, members: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path: Path) -> str:
    def read() -> None:
        for reader in readers(path):
            register.lines(reader)

    with pytest.raises(ImportRefused) as refusal:
        read()
    assert refusal.value.advice
    return refusal.value.code


def test_an_archive_is_read_without_unpacking_it(tmp_path: Path) -> None:
    text = register.text(*(activity(n) for n in range(50)))
    skills = sources.write_skills(tmp_path / "skills", (1, "SM04", "Cardiologie")).read_bytes()
    diplomas = "Identification nationale PP|Code type diplôme obtenu|Libellé type diplôme obtenu|\n"
    members: dict[str, str | bytes] = {
        STAMPED: text,
        "PS_LibreAcces_Dipl_AutExerc_202601050630.txt": diplomas,
        "x/PS_LibreAcces_SavoirFaire_202601050630.txt": skills,
        "readme.pdf": b"%PDF",
        "empty.txt": b"",
    }
    path = packed(tmp_path / "PS_LibreAcces.zip", **members)
    first, second = readers(path)
    assert [line.name for line in register.lines(first)] == [f"NOM{n}" for n in range(50)]
    assert (first.size, first.read) == (len(text.encode()), len(text.encode()))
    assert [line.speciality_code for line in register.lines(second)] == ["SM04"]
    assert {first.source, second.source} == {"RPPS"}


@pytest.mark.parametrize("keep", [4, 100, 0.5, 0.99])
def test_half_an_archive_is_refused(tmp_path: Path, keep: float) -> None:
    path = packed(tmp_path / "f.zip", **{"f.txt": register.text(*(activity(n) for n in range(99)))})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    assert refused(path) == "zip_damaged"


def test_a_spoilt_archive_is_refused(tmp_path: Path) -> None:
    text = register.text(*(activity(n) for n in range(2000)))
    path = packed(tmp_path / "f.zip", **{"f.txt": text})
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    assert refused(path) == "zip_damaged"


def test_what_is_stored_is_read_or_its_damage_told(tmp_path: Path) -> None:
    text = register.text(*(activity(n) for n in range(2000)))
    path = packed_by(zipfile.ZIP_STORED, tmp_path / "f.zip", {"f.txt": text})
    (reader,) = readers(path)
    assert len(register.lines(reader)) == 2000
    for place in (0.001, 0.5, 0.9):
        whole = bytearray(path.read_bytes())
        at = int(place * len(whole))
        whole[at : at + 64] = bytes(64)
        spoilt = tmp_path / "spoilt.zip"
        spoilt.write_bytes(whole)
        assert refused(spoilt) == "zip_damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_states_little_and_is_packed_by_other_methods_is_not_opened(
    tmp_path: Path, method: int
) -> None:
    """It would be unpacked whole, whatever it states."""
    bomb = packed_by(method, tmp_path / "f.zip", {"f.txt": "a" * (64 << 20)})
    assert bomb.stat().st_size < 1 << 20
    content = bytearray(bomb.read_bytes())
    for at in (22, content.rindex(b"PK\x01\x02") + 24):
        content[at : at + 4] = (1000).to_bytes(4, "little")
    bomb.write_bytes(content)
    assert refused(bomb) == "zip_method"


def marked(path: Path, *, method: int | None = None, flags: int = 0, version: int = 20) -> Path:
    """The archive of one member with another method, marks or needed version in both of its headers."""
    content = bytearray(path.read_bytes())
    for at in (4, content.index(b"PK\x01\x02") + 6):
        content[at : at + 2] = version.to_bytes(2, "little")
        content[at + 2] |= flags
        if method is not None:
            content[at + 4 : at + 6] = method.to_bytes(2, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("method", [9, 93, 95, 98], ids=["deflate64", "zstd", "xz", "ppmd"])
def test_methods_that_cannot_be_unpacked_are_told(tmp_path: Path, method: int) -> None:
    # A short text of Deflate without far repetitions is the same text in Deflate64.
    path = packed(tmp_path / "f.zip", **{STAMPED: register.text(activity(1))})
    assert refused(marked(path, method=method)) == "zip_method"


def test_other_features_that_cannot_be_unpacked_are_told(tmp_path: Path) -> None:
    def path() -> Path:
        return packed(tmp_path / "f.zip", **{STAMPED: register.text(activity(1))})

    assert refused(marked(path(), flags=1 << 5)) == "zip_method"
    assert refused(marked(path(), version=90)) == "zip_method"
    assert refused(marked(path(), flags=1)) == "zip_encrypted"
    assert refused(marked(path(), flags=1 << 6 | 1)) == "zip_encrypted"
    assert refused(marked(path(), flags=1 << 6)) == "zip_encrypted"


def test_a_member_of_no_use_may_be_packed_anyhow(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    path = marked(packed(path, **{"readme.pdf": b"%PDF"}), method=9)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(STAMPED, register.text(activity(1)))
    (reader,) = readers(path)
    assert len(register.lines(reader)) == 1


def test_a_zip_bomb_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = packed(tmp_path / "f.zip", **{"f.txt": b"x" * (8 << 20)})
    assert refused(bomb) == "zip_bomb"
    many = packed(tmp_path / "m.zip", **{f"{n}.txt": b"x" for n in range(100)})
    assert refused(many) == "zip_bomb"
    monkeypatch.setattr(archives, "UNPACKED_MAX", 1000)
    large = packed(tmp_path / "l.zip", **{"f.txt": os.urandom(2000)})
    assert refused(large) == "zip_bomb"


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    assert refused(packed(tmp_path / "a.zip", **{"a.pdf": b"%PDF"})) == "zip_without_text"
    assert refused(packed(tmp_path / "b.zip", **{"a.txt": b"hello\n"})) == "unknown_file"
    path = packed(tmp_path / "c.zip", **{"a.txt": b"hello\n"})
    with zipfile.ZipFile(path) as archive:
        flags = archive.infolist()[0]
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the local header's and the directory's mark of encryption
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert flags.flag_bits & 1 == 0
    assert refused(path) == "zip_encrypted"


@pytest.mark.parametrize(
    ("name", "ms"),
    [
        ("PS_LibreAcces_Personne_activite_202601050630.txt", 1767594600000),
        ("PS_20260105063000.txt", 1767594600000),
        ("finess_20260105.csv", 1767571200000),
        ("n12345678_20260105.csv", 1767571200000),
        ("f_20261399.txt", None),
        ("f.txt", None),
    ],
)
def test_a_files_time_is_in_its_name(name: str, ms: int | None) -> None:
    assert stamped(name) == ms
