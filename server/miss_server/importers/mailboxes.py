"""Reads the secure mailboxes (`Extraction_Correspondance_MSSante`): of persons and of organisations.

The address is a line's only key, and lines have no date: what came and went shows in the difference
of two files only.
"""

import re
from hashlib import sha256
from typing import ClassVar

from miss_server.importers.bars import BarReader
from miss_server.importers.identifiers import fault, finess_fault, is_plain, service_key, storable
from miss_server.importers.lines import FIELDS, ORGANISATION, Line
from miss_server.importers.readers import Unusable

MAILBOXES = "MSSANTE"
MAILBOX_COLUMNS = (
    "Type de BAL", "Adresse BAL", "Type Identifiant PP", "Identifiant PP",
    "Identification nationale PP", "Type identifiant structure", "Identification Structure",
    "Service de rattachement", "Civilité d'exercice", "Nom d'exercice", "Prénom d'exercice",
    "Catégorie profession", "Libellé de catégorie profession", "Code Profession",
    "Libellé Profession", "Code savoir-faire", "Libellé savoir-faire", "Dématérialisation",
    "Raison Sociale structure BAL", "Enseigne commerciale structure BAL",
    "L2COMPLEMENTLOCALISATION", "L3COMPLEMENTDISTRIBUTION", "L4NUMEROVOIE",
    "L4COMPLEMENTNUMEROVOIE", "NL4TYPEVOIE", "L4LIBELLEVOIE", "L5LIEUDITMENTION",
    "L6LIGNEACHEMINEMENT", "Code postal", "Département", "Pays",
)  # fmt: skip
"""All columns of the file."""
ADDRESS_MAX = 254
"""Characters of an address (RFC 5321, section 4.5.3.1.3, without the brackets)."""

_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+")
_OF_A_PERSON = "PER"
_KINDS = {_OF_A_PERSON, "ORG", "APP", "CAB"}
_STRUCTURES = {
    "finess": "1", "1": "1", "siren": "2", "2": "2", "siret": "3", "3": "3",
    "rpps rang": "4", "rpps": "4", "4": "4", "adeli": "cab.", "0": "cab.",
}  # fmt: skip
"""What stands before a structure's number (the digit of Struct_IdNat) by what the file may call its type. A
practice's ADELI number may be that of who practises there, who is somebody else than the practice."""
_FINESS = "1"


class MailboxReader(BarReader):
    """The reader of secure mailboxes."""

    source = MAILBOXES
    NEEDED: ClassVar = {
        "kind": "Type de BAL",
        "mailbox": "Adresse BAL",
        "key": "Identification nationale PP",
        "structure_type": "Type identifiant structure",
        "structure": "Identification Structure",
        "service": "Service de rattachement",
        "name": "Nom d'exercice",
        "given": "Prénom d'exercice",
        "organisation": "Raison Sociale structure BAL",
        "postcode": "Code postal",
    }
    OPTIONAL: ClassVar = {
        "title": "Civilité d'exercice",
        "profession_code": "Code Profession",
        "profession": "Libellé Profession",
        "speciality_code": "Code savoir-faire",
        "speciality": "Libellé savoir-faire",
        "sign": "Enseigne commerciale structure BAL",
        "street_number": "L4NUMEROVOIE",
        "street_index": "L4COMPLEMENTNUMEROVOIE",
        "street_kind": "NL4TYPEVOIE",
        "street": "L4LIBELLEVOIE",
        "cedex": "L6LIGNEACHEMINEMENT",
        "department": "Département",
        "country": "Pays",
    }

    def begin(self, header: str) -> None:
        """See `Reader`."""
        super().begin(header)
        # The type of a mailbox is no field of a line's; an empty kind is a person's.
        self._kind = self.found["kind"]
        self._columns = [self.found.get(field, -1) for field in FIELDS]
        self._columns[FIELDS.index("kind")] = -1

    def packed(self, columns: list[str], number: int) -> tuple[str, str] | None:
        """See `BarReader`."""
        kind = columns[self._kind].upper()
        line = Line(*[columns[place] for place in self._columns])
        address = line.mailbox.lower()
        if not is_address(address):
            raise Unusable("no mailbox address")
        if kind not in _KINDS:
            raise Unusable("unknown type of mailbox")
        structure = self._structure(columns, number)
        service = columns[self.found["service"]]
        if kind == _OF_A_PERSON:
            line = self._person(line, address, structure, number)
        elif structure and service:
            line = line._replace(
                key=service_key(structure, service), name=service, given="", parent=structure
            )
        else:
            name = service or line.organisation or line.sign
            line = line._replace(key=structure or _own_key(address), name=name, given="")
        if kind != _OF_A_PERSON:
            line = line._replace(kind=ORGANISATION, title="", profession="", profession_code="")
        line = Line(*self.settling.settled(line))
        return line.key, line._replace(mailbox=address).packed()

    def _person(self, line: Line, address: str, structure: str, number: int) -> Line:
        if not line.name:
            raise Unusable("no name")
        if not line.key:
            # Attested by the organisation that runs the mailbox: there is no national number.
            return line._replace(key=_own_key(address), parent=structure)
        wrong = fault(line.key[:1], line.key[1:], line.key)
        if wrong is not None:
            if not storable(line.key):
                raise Unusable(wrong)
            self.warn(number, wrong)
        return line

    def _structure(self, columns: list[str], number: int) -> str:
        """The key of the structure that a mailbox belongs to; empty if the line names none."""
        named = columns[self.found["structure"]].replace(" ", "")
        if not named:
            return ""
        called = columns[self.found["structure_type"]].casefold().replace("-", " ")
        digit = _STRUCTURES.get(called)
        if digit is None or not is_plain(named):
            raise Unusable("unknown identifier of a structure")
        if digit == _FINESS:
            named = named[1:] if len(named) == 10 and named.startswith(_FINESS) else named
            wrong = finess_fault(named)
            if wrong is not None:
                self.warn(number, wrong)
        return digit + named


def is_address(text: str) -> bool:
    """Whether it has the form of a mail address."""
    return len(text) <= ADDRESS_MAX and _ADDRESS.fullmatch(text) is not None


def _own_key(address: str) -> str:
    return "bal." + sha256(address.encode()).hexdigest()[:16]
