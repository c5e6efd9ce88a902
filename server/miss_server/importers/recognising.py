"""Finds out which source a file is of, by the columns that its first line names."""

from collections.abc import Sequence
from pathlib import Path

from miss_server.importers.activities import ActivityReader
from miss_server.importers.archives import Text, texts
from miss_server.importers.bars import BAR, not_separated
from miss_server.importers.columns import column_key
from miss_server.importers.communes import CODES, COMMUNE_SEPARATORS, POSTCODES, CommuneReader
from miss_server.importers.establishments import SEMICOLON, STOCK, EstablishmentReader
from miss_server.importers.mailboxes import MailboxReader
from miss_server.importers.members import SEPARATORS, MemberReader, in_english
from miss_server.importers.readers import LINE_MAX, Reader, header_text
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.skills import SkillReader
from miss_server.words import tr

_PERSON = column_key("Identification nationale PP")
_MAILBOX = column_key("Adresse BAL")
_SKILL = column_key("Code savoir-faire")
_DIPLOMAS = (column_key("Code type diplôme obtenu"), column_key("Code type autorisation"))
_PLACE = column_key("Raison sociale site")
_ESTABLISHMENT = "nofinesset"
_MEMBER = "name"
_COMMUNES = tuple({column_key(name) for name in names} for names in (CODES, POSTCODES))


def readers(path: Path, *, test_identifiers: bool = False) -> list[Reader]:
    """The readers of a file: one, or one for each text of an archive that is of use.

    Raises:
        ImportRefused: no text of it is of any source, or it is damaged.
        OSError: it cannot be read.
    """
    found = [(text, _kind(text)) for text in texts(path)]
    made = [kind(text, test_identifiers=test_identifiers) for text, kind in found if kind]
    if not made:
        raise ImportRefused(
            "unknown_file",
            tr(
                f"{path.name} is not of any known source: its first line names none of their columns.",
                f"{path.name} n'est d'aucune source connue : sa première ligne n'en nomme pas les"
                " colonnes.",
            ),
            tr(
                "See server/DIRECTORY.md for the files that can be imported.",
                "Voir server/DIRECTORY.md pour les fichiers qui peuvent être importés.",
            ),
        )
    for place, reader in enumerate(made):
        reader.path, reader.place = path, place
    return made


def _kind(text: Text) -> type[Reader] | None:
    with text.opened() as file:
        raw = file.readline(LINE_MAX + 1)
    if text.packed and not raw.strip():
        return None
    header = header_text(text.name, raw, latin_1=True)
    if header.startswith(STOCK):
        return EstablishmentReader
    for separator in COMMUNE_SEPARATORS:
        if all(names & set(_keys(header, separator)) for names in _COMMUNES):
            return CommuneReader
    header = header_text(text.name, raw)
    if header.count(BAR) >= 2:
        return _between_bars(_keys(header, BAR))
    for separator in SEPARATORS:
        keys = _keys(header, separator)
        if _ESTABLISHMENT in keys and separator == SEMICOLON:
            return EstablishmentReader
        if _PERSON in keys or _MAILBOX in keys:
            raise not_separated()
        if len(keys) > 1 and _MEMBER in in_english(keys):
            return MemberReader
    return None


def _between_bars(keys: Sequence[str]) -> type[Reader] | None:
    if _MAILBOX in keys:
        return MailboxReader
    if any(key in keys for key in _DIPLOMAS):
        return None  # diplomas come in the same archive and are of no use here
    if _PLACE in keys:
        return ActivityReader
    if _SKILL in keys:
        return SkillReader
    return ActivityReader if _PERSON in keys else None


def _keys(header: str, separator: str) -> list[str]:
    return [column_key(column) for column in header.split(separator)]
