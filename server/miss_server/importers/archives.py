"""Opens what an operator gives: a text file, or a zip archive of some, never unpacked to disk.

An archive is refused before anything of it is read when what it says of itself could fill a memory or
a disk; no member is ever read beyond the size that it states (`zipfile` stops there and compares its
checksum).
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from miss_server.importers.refusal import ImportRefused
from miss_server.words import tr

UNPACKED_MAX = 8 << 30
"""Bytes of all members: four times what the largest national file has had."""
RATIO_MAX = 200
"""How many times smaller a member may be packed: real ones are 5 to 25 times smaller."""
RATIO_FROM = 1 << 20
"""Bytes from which the ratio counts: a short text of one letter is no bomb."""
MEMBERS_MAX = 64
BUFFER = 1 << 20

_TEXTS = (".txt", ".csv")
_ZIP = b"PK"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError)
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Those of published archives. `zipfile` unpacks what is packed by bzip2 or LZMA without a bound, whatever size the
member states: a megabyte of it fills a memory."""
_ENCRYPTED = 1 | 1 << 6
_PATCHED = 1 << 5
"""The mark of a member that holds differences to another file only."""
_STAMP = re.compile(r"(?<!\d)(\d{14}|\d{12}|\d{8})(?!\d)")
_STAMPS = {14: "%Y%m%d%H%M%S", 12: "%Y%m%d%H%M", 8: "%Y%m%d"}
_AGAIN = tr("Download it again.", "Téléchargez-le à nouveau.")


@dataclass(frozen=True)
class Text:
    """A text to read: `name` for people, `size` in bytes, `date_ms` of its data as names say it, `own_ms` when the
    file was written."""

    name: str
    size: int
    date_ms: int
    own_ms: int
    _open: Callable[[], BinaryIO]
    packed: bool = False

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes of it. Raises `ImportRefused` inside the block where an archive is damaged."""
        try:
            with self._open() as file:
                yield file
        except _BROKEN as error:
            raise _damaged(self.name) from error


def texts(path: Path) -> list[Text]:
    """What is in a file: itself, or the texts of an archive in its order.

    Raises:
        ImportRefused: `zip_damaged`, `zip_bomb`, `zip_encrypted`, `zip_method`, `zip_without_text`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _ZIP
    own = path.stat()
    own_ms = int(own.st_mtime * 1000)
    if not packed:
        date_ms = stamped(path.name) or own_ms
        return [Text(path.name, own.st_size, date_ms, own_ms, lambda: path.open("rb"))]
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
    except NotImplementedError as error:
        raise _foreign(path.name) from error
    except (*_BROKEN, ValueError) as error:
        raise _damaged(path.name) from error
    _check(path.name, members)
    found = [one for one in members if one.filename.casefold().endswith(_TEXTS)]
    if not found:
        raise ImportRefused(
            "zip_without_text",
            tr(
                f"There is no .txt or .csv file in {path.name}.",
                f"Il n'y a pas de fichier .txt ni .csv dans {path.name}.",
            ),
            tr(
                "Give the archive as it was published.",
                "Donnez l'archive telle qu'elle est publiée.",
            ),
        )
    if any(one.compress_type not in _METHODS or one.flag_bits & _PATCHED for one in found):
        raise _foreign(path.name)
    return [
        Text(
            one.filename.rsplit("/")[-1],
            one.file_size,
            stamped(one.filename) or stamped(path.name) or own_ms,
            own_ms,
            _member(path, one),
            packed=True,
        )
        for one in found
    ]


def stamped(name: str) -> int | None:
    """The time in a file's name (14, 12 or 8 digits, UTC) in milliseconds."""
    for stamp in _STAMP.findall(name):
        try:
            made = datetime.strptime(stamp, _STAMPS[len(stamp)]).replace(tzinfo=UTC)
        except ValueError:
            continue  # digits that are no date: a number of something else
        return int(made.timestamp() * 1000)
    return None


def _member(path: Path, member: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    def open_() -> BinaryIO:
        archive = zipfile.ZipFile(path)
        # The buffer closes the member, which closes the archive with it.
        return _Closing(archive, archive.open(member))

    return open_


class _Closing(io.BufferedReader):
    """Lines of a member at the speed of a file's; closes the archive with itself."""

    def __init__(self, archive: zipfile.ZipFile, member: object) -> None:
        super().__init__(member, BUFFER)  # type: ignore[arg-type]  # a ZipExtFile reads as a raw file
        self._archive = archive

    def close(self) -> None:
        super().close()
        self._archive.close()


def _check(name: str, members: Sequence[zipfile.ZipInfo]) -> None:
    whole = sum(one.file_size for one in members)
    swollen = any(
        one.file_size > RATIO_FROM and one.file_size > RATIO_MAX * max(1, one.compress_size)
        for one in members
    )
    if whole > UNPACKED_MAX or swollen or len(members) > MEMBERS_MAX:
        raise ImportRefused(
            "zip_bomb",
            tr(
                f"{name} would unpack to {whole >> 20} MiB in {len(members)} files:"
                " no published archive does.",
                f"{name} donnerait {whole >> 20} Mio en {len(members)} fichiers :"
                " aucune archive publiée n'en est là.",
            ),
            tr("Check where it came from.", "Vérifiez d'où elle vient."),
        )
    if any(one.flag_bits & _ENCRYPTED for one in members):
        raise ImportRefused(
            "zip_encrypted",
            tr(f"{name} is protected by a password.", f"{name} est protégée par un mot de passe."),
            tr(
                "Give the archive as it was published.",
                "Donnez l'archive telle qu'elle est publiée.",
            ),
        )


def _damaged(name: str) -> ImportRefused:
    return ImportRefused(
        "zip_damaged",
        tr(
            f"{name} is a damaged archive, or was downloaded in part.",
            f"{name} est une archive abîmée, ou téléchargée en partie.",
        ),
        _AGAIN,
    )


def _foreign(name: str) -> ImportRefused:
    return ImportRefused(
        "zip_method",
        tr(
            f"{name} is packed by a method that is not supported here.",
            f"{name} est compressée par une méthode qui n'est pas prise en charge ici.",
        ),
        tr(
            "Unpack it and give the text, or download it again as it is published.",
            "Décompressez-la et donnez le texte, ou téléchargez-la à nouveau telle qu'elle est publiée.",
        ),
    )
