"""Reads an association's own members and services: the CSV of `server/DIRECTORY.md`."""

import csv
import re
from collections.abc import Sequence
from hashlib import sha256
from operator import itemgetter
from typing import ClassVar

from miss_protocol.directory import normalise
from miss_server.importers.archives import Text
from miss_server.importers.bars import not_separated
from miss_server.importers.columns import column_key, places
from miss_server.importers.identifiers import (
    fault,
    finess_fault,
    is_plain,
    local_key,
    service_key,
    storable,
)
from miss_server.importers.lines import FIELDS, ORGANISATION, Line
from miss_server.importers.mailboxes import is_address
from miss_server.importers.readers import Reader, Unusable
from miss_server.storage.directory import ImportedFile

IN_FRENCH = {
    "identifiant national": "national identifier",
    "identifiant local": "local identifier",
    "nature": "kind",
    "nom": "name",
    "prenom": "given name",
    "titre": "title",
    "code profession": "profession code",
    "code specialite": "speciality code",
    "specialite": "speciality",
    "categorie": "category",
    "rattachement": "part of",
    "organisation": "organisation",
    "adresse": "address",
    "code postal": "postcode",
    "ville": "city",
    "code commune": "commune code",
    "telephone": "phone",
    "messagerie securisee": "secure mailbox",
}
"""Names of columns in French, folded, and what they are called in English."""
SEPARATORS = (";", ",")
SOURCE_MAX = 32
"""Characters of a source's name, which stands beside every entry that is made from it."""

_TOLD_APART = 8
_STAMP = re.compile(r"[-_. ]*\d{6,14}$")
_PERSONS = {"", "person", "personne"}
_ORGANISATIONS = {"organisation", "organization", "service"}


class MemberReader(Reader):
    """The reader of an association's own file. The source is named as the file, without its date."""

    NEEDED: ClassVar = {"name": "name"}
    OPTIONAL: ClassVar = {
        "national": "national identifier",
        "local": "local identifier",
        "kind": "kind",
        "given": "given name",
        "title": "title",
        "profession_code": "profession code",
        "profession": "profession",
        "speciality_code": "speciality code",
        "speciality": "speciality",
        "category": "category",
        "parent": "part of",
        "organisation": "organisation",
        "street": "address",
        "postcode": "postcode",
        "city": "city",
        "commune": "commune code",
        "phone": "phone",
        "mailbox": "secure mailbox",
    }

    def __init__(self, text: Text, *, test_identifiers: bool = False) -> None:
        super().__init__(text, test_identifiers=test_identifiers)
        self._stem = _stem(text.name)
        self.source = _source(self._stem)

    def keep_name(self, before: Sequence[ImportedFile]) -> None:
        """Be called as a version before called this file, if it did: its people's identifiers begin with that.

        That version cut long names, so that two lists could be one source: the first of them keeps the name.
        """
        cut = self._stem[:SOURCE_MAX]
        first = next((old for old in before if old.name == cut), None)
        if first is not None and _stem(first.file) == self._stem:
            self.source = cut

    def begin(self, header: str) -> None:
        """See `Reader`."""
        self._separator = max(SEPARATORS, key=header.count)
        try:
            self._columns = in_english(self._split(header))
        except Unusable:
            raise not_separated() from None
        found = places(self._columns, self.NEEDED, self.OPTIONAL)
        missing = len(self._columns)
        wanted = ("national", "local", *FIELDS[1:])
        self._locals: dict[str, str] = {}
        self._earlier: dict[str, str] = {}
        if isinstance(self.before, MemberReader):
            self._earlier = self.before._earlier | self.before._locals
        self._pick = itemgetter(*(found.get(field, missing) for field in wanted))

    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """See `Reader`."""
        columns = [column.strip() for column in self._split(text)]
        if len(columns) != len(self._columns):
            few = len(columns) < len(self._columns)
            raise Unusable("too few columns" if few else "too many columns")
        columns.append("")
        national, local, *fields = self._pick(columns)
        line = Line("", *fields)
        kind = line.kind.casefold()
        if kind not in _PERSONS | _ORGANISATIONS:
            raise Unusable("the kind is neither person nor organisation nor service")
        if not line.name:
            raise Unusable("no name")
        address = line.mailbox.lower()
        if address and not is_address(address):
            raise Unusable("no mailbox address")
        organisation = kind in _ORGANISATIONS
        key = self._key(national.replace(" ", ""), local, line, number, organisation=organisation)
        line = line._replace(mailbox=address, kind=ORGANISATION if organisation else "")
        if not line.commune:
            line = Line(*self.settling.settled(line))
        return key, line.packed()

    def _key(
        self, national: str, local: str, line: Line, number: int, *, organisation: bool
    ) -> str:
        if national:
            wrong = (
                finess_fault(national)
                if organisation
                else fault(national[:1], national[1:], national)
            )
            if wrong is not None:
                if not (is_plain if organisation else storable)(national):
                    raise Unusable(wrong)
                self.warn(number, wrong)
            return f"1{national}" if organisation else national
        if organisation and line.parent and not local:
            return service_key(line.parent, line.name)
        if not local:
            raise Unusable("neither a national nor a local identifier")
        key = local_key(self.source, local)
        earlier = self._earlier.get(key, local)
        # Two people must not become one because an identifier is folded.
        if earlier != local or self._locals.setdefault(key, local) != local:
            raise Unusable("a local identifier that another one is written like")
        if key in self._earlier:
            self.warnings.add(self.name, number, "a local identifier of another file of this list")
        return key

    def _split(self, text: str) -> list[str]:
        # A line for itself: a quote that is never closed must not swallow the lines behind it.
        try:
            (columns,) = csv.reader([text], delimiter=self._separator, strict=True)
        except (csv.Error, ValueError):
            raise Unusable("a quote that is not closed") from None
        return columns


def _stem(file: str) -> str:
    stem = file.rsplit(".", 1)[0]
    return _STAMP.sub("", stem) or stem


def _source(stem: str) -> str:
    """The source of a file's name; long ones are cut and told apart by a hash."""
    if len(stem) <= SOURCE_MAX:
        return stem
    told = sha256("-".join(normalise(stem)).encode()).hexdigest()[:_TOLD_APART]
    return f"{stem[: SOURCE_MAX - _TOLD_APART - 1]}-{told}"


def in_english(columns: list[str]) -> list[str]:
    """The names of columns, folded, in English."""
    keys = [column_key(column) for column in columns]
    return [IN_FRENCH.get(key, key) for key in keys]
