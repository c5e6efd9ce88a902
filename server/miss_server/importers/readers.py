"""What the readers of all sources share: texts are read once, in bounded memory, line by line."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, ClassVar

from miss_server.importers.archives import BUFFER, Text
from miss_server.importers.faults import Faults
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.settling import Settling
from miss_server.storage.geography import Geography
from miss_server.words import tr

LINE_MAX = 16 * 1024
"""Bytes of a line: real ones have 300 to 900. A file without line ends must not fill the memory."""
AHEAD_MS = 86_400_000
"""How far a date may lie ahead: names are in local time, and clocks differ. A later one is no date of data."""
DIGEST = 16
"""Bytes of the digest by which two files are found to be the same."""

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
BOM = b"\xef\xbb\xbf"


class Unusable(Exception):
    """A line that is left out; the text says why."""


class Reader(ABC):
    """One text of one source: `rows` reads it once, in bounded memory.

    Args:
        text: what to read.
        test_identifiers: keep entries whose identifier fails its check, with a warning.

    `tells_date`: `date_ms` is what the first line says, whatever the file is called; it is known after `rows` or
    `digests`. `path` and `place` say where it is: the number among the readers of its file. Set `settling` before `rows`, which completes addresses by it, and
    `before`, if another text of the source was read.

    `rows` raises `ImportRefused` when the text as a whole cannot be used. Afterwards `lines`,
    `rejected`, `warnings` and the digests (`header`, and `digest` of all other lines) are complete; `read` (bytes) tells how far it is.
    """

    source: str = ""
    """The name under which the source asks to be cited."""
    kind: ClassVar[str] = ""
    """Which of its source's files it is, where they are of several kinds: each is compared with its own kind's."""
    latin_1: ClassVar[bool] = False
    """Lines that are no UTF-8 are Latin-1: so its publisher has always written them."""

    def __init__(self, text: Text, *, test_identifiers: bool = False) -> None:
        self.text = text
        self.name, self.size, self.date_ms = text.name, text.size, text.date_ms
        self.read = 0
        self.lines = 0
        self.rejected = Faults()
        self.warnings = Faults()
        self.header, self.digest = b"", b""
        self.tells_date = False
        self.specialities = True
        self.path, self.place = Path(), 0
        self.settling = Settling(Geography())
        self.before: Reader | None = None
        self.test_identifiers = test_identifiers

    def dated(self, now_ms: int) -> int:
        """The date of its data in milliseconds; for one that is still to come when the file was written, or now.

        Believed, it would refuse every file that comes until then as older.
        """
        said = (self.date_ms, self.text.own_ms)
        return next((one for one in said if one <= now_ms + AHEAD_MS), now_ms)

    @abstractmethod
    def begin(self, header: str) -> None:
        """Find the columns. Raises `ImportRefused`."""

    def told_date(self, header: str) -> int | None:
        """The date of its data that the first line states, in milliseconds."""
        return None

    @abstractmethod
    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """The entry's key and the packed `Line` of one line's text, without its end; None to pass it
        over. Raises `Unusable`."""

    def decode(self, raw: bytes) -> str:
        """A line's text. Raises `Unusable`."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            if self.latin_1:
                return raw.decode("latin-1")
            raise Unusable("not UTF-8") from None

    def rows(self) -> Iterator[tuple[str, str]]:
        """(key, packed line) of every line that can be used, in the text's order."""
        seen = blake2b(digest_size=DIGEST)
        with self.text.opened() as file:
            self._header(file)
            number = 1
            while raw := file.readline(LINE_MAX + 1):
                number += 1
                self.read += len(raw)
                seen.update(raw)
                if len(raw) > LINE_MAX:
                    self._refuse_long_line(number)
                if not raw.endswith(b"\n"):
                    raise self._cut()
                if raw.isspace():
                    continue
                try:
                    row = self._checked(raw, number)
                except Unusable as error:
                    self.lines += 1
                    self.rejected.add(self.name, number, str(error))
                else:
                    if row is not None:
                        self.lines += 1
                        yield row
            if self.ended_short(number):
                raise self._cut()
        self.digest = seen.digest()

    def digests(self) -> tuple[bytes, bytes]:
        """The digests that `rows` would leave behind, for a tenth of what it costs; the date that the first
        line states is left behind as well."""
        seen = blake2b(digest_size=DIGEST)
        with self.text.opened() as file:
            header = file.readline(LINE_MAX + 1)
            self._date(header_text(self.name, header, latin_1=self.latin_1))
            while some := file.read(BUFFER):
                seen.update(some)
        return blake2b(header, digest_size=DIGEST).digest(), seen.digest()

    def ended_short(self, number: int) -> bool:
        """Whether the last line lost its end in a way that this format shows."""
        return False

    def _checked(self, raw: bytes, number: int) -> tuple[str, str] | None:
        text = self.decode(raw).rstrip("\r\n")
        # `isprintable` is quick, and right for nearly all lines.
        if not text.isprintable() and CONTROLS.search(text):
            # Such a name could forge a line of the operator's terminal or of a log.
            raise Unusable("a control character")
        return self.row(text, number)

    def _header(self, file: BinaryIO) -> None:
        raw = file.readline(LINE_MAX + 1)
        self.read = len(raw)
        self.header = blake2b(raw, digest_size=DIGEST).digest()
        header = header_text(self.name, raw, latin_1=self.latin_1)
        if not header.endswith("\n"):
            if len(raw) > LINE_MAX:
                self._refuse_long_line(1)
            raise self._cut()
        self._date(header)
        self.begin(header.rstrip("\r\n"))

    def _date(self, header: str) -> None:
        told = self.told_date(header.rstrip("\r\n"))
        if told is not None:
            self.date_ms, self.tells_date = told, True

    def warn(self, number: int, reason: str) -> None:
        """Let a faulty identifier pass where test identifiers may, otherwise raise `Unusable`."""
        if not self.test_identifiers:
            raise Unusable(reason)
        self.warnings.add(self.name, number, reason)

    def _cut(self) -> ImportRefused:
        return ImportRefused(
            "cut_short",
            tr(
                f"{self.name} is cut short: its last line is not complete.",
                f"{self.name} est tronqué : sa dernière ligne est incomplète.",
            ),
            tr("Download it again.", "Téléchargez-le à nouveau."),
        )

    def _refuse_long_line(self, number: int) -> None:
        raise ImportRefused(
            "long_line",
            tr(
                f"Line {number} of {self.name} has more than {LINE_MAX} bytes.",
                f"La ligne {number} de {self.name} dépasse {LINE_MAX} octets.",
            ),
            tr(
                "This is not a file of the directory's sources, or it is damaged: download it again.",
                "Ce n'est pas un fichier des sources de l'annuaire, ou il est abîmé :"
                " téléchargez-le à nouveau.",
            ),
        )


def header_text(name: str, raw: bytes, *, latin_1: bool = False) -> str:
    """The first line's text, with its end, without a byte order mark; `latin_1`: it may be.

    Raises:
        ImportRefused: `not_utf8`, `empty`.
    """
    try:
        header = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        if latin_1:
            return raw.decode("latin-1")
        raise ImportRefused(
            "not_utf8",
            tr(
                f"{name} is not UTF-8 (it looks like Latin-1).",
                f"{name} n'est pas en UTF-8 (mais sans doute en Latin-1).",
            ),
            tr(
                "Import the file as it was published, or convert it first: iconv -f latin1 -t utf-8.",
                "Importez le fichier tel qu'il est publié, ou convertissez-le d'abord :"
                " iconv -f latin1 -t utf-8.",
            ),
        ) from None
    if not header.strip():
        raise ImportRefused(
            "empty",
            tr(f"{name} is empty.", f"{name} est vide."),
            tr("Download it again.", "Téléchargez-le à nouveau."),
        )
    return header
