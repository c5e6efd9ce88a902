"""What one line of any source says of a person or an organisation."""

from typing import NamedTuple, Self

SEPARATOR = "\x1f"
"""Between the fields of a packed line: no field holds a control character."""


class Line(NamedTuple):
    """One line, in the same fields whatever its source; what a source does not say is empty.

    `key` is the identifier of the entry in the directory, `kind` empty for a person and `o` for an
    organisation or a service; `parent` is the key of the organisation that a service belongs to.
    `street` is a whole address where the source has one; `position` has latitude and longitude;
    `finess` is the number of the establishment where a person works.
    """

    key: str
    kind: str = ""
    name: str = ""
    given: str = ""
    title: str = ""
    civility: str = ""
    profession_code: str = ""
    profession: str = ""
    speciality_code: str = ""
    speciality: str = ""
    category: str = ""
    parent: str = ""
    organisation: str = ""
    sign: str = ""
    street_number: str = ""
    street_index: str = ""
    street_kind: str = ""
    street: str = ""
    cedex: str = ""
    postcode: str = ""
    city: str = ""
    commune: str = ""
    country: str = ""
    phone: str = ""
    department_code: str = ""
    department: str = ""
    mailbox: str = ""
    position: str = ""
    finess: str = ""

    def packed(self) -> str:
        """The fields behind the key, as they are put aside."""
        return SEPARATOR.join(self[1:])

    @classmethod
    def unpacked(cls, key: str, text: str) -> Self:
        """The line of a packed text."""
        return cls(key, *text.split(SEPARATOR))


FIELDS = Line._fields
ORGANISATION = "o"
EMPTY = Line("").packed()
