"""Reads lines whose columns are separated by bars, as the national directory's extractions write them.

UTF-8, a header line, no quoting; a line may end with one more separator, and must if its header does.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import ClassVar

from miss_server.importers.columns import places
from miss_server.importers.lines import FIELDS, SEPARATOR
from miss_server.importers.readers import Reader, Unusable
from miss_server.importers.refusal import ImportRefused
from miss_server.importers.settling import COMMUNE_AT
from miss_server.words import tr

BAR = "|"


class BarReader(Reader):
    """A text of columns separated by bars. `NEEDED` and `OPTIONAL` name the columns of fields: of
    `Line` (they are packed as they are), or others that `check` looks at."""

    NEEDED: ClassVar[Mapping[str, str]]
    OPTIONAL: ClassVar[Mapping[str, str]] = {}

    def begin(self, header: str) -> None:
        """See `Reader`."""
        if header.count(BAR) < 2:
            raise not_separated()
        columns = header.split(BAR)
        found = places(columns, self.NEEDED, self.OPTIONAL)
        self.width, self._ended = len(columns), not columns[-1]
        self.found = found
        # One more column than there is: the empty one that is added to every line.
        self._pick = itemgetter(*(found.get(field, self.width) for field in FIELDS))
        self._short = 0

    def row(self, text: str, number: int) -> tuple[str, str] | None:
        """See `Reader`."""
        columns = text.split(BAR)
        if len(columns) == self.width + 1 and not columns[-1] and not self._ended:
            columns.pop()
        if len(columns) != self.width:
            if len(columns) > self.width:
                raise Unusable("too many columns")
            self._short = number
            raise Unusable("too few columns")
        if " |" in text or "| " in text:
            columns = [column.strip() for column in columns]
        columns.append("")
        return self.packed(columns, number)

    def packed(self, columns: list[str], number: int) -> tuple[str, str] | None:
        """The key and the packed line of stripped columns. Raises `Unusable`."""
        self.check(columns, number)
        fields = self._pick(columns)
        if not fields[COMMUNE_AT]:
            fields = self.settling.settled(fields)
        return fields[0], SEPARATOR.join(fields[1:])

    def check(self, columns: list[str], number: int) -> None:
        """Raise `Unusable` for a line that says nothing of anybody."""

    def ended_short(self, number: int) -> bool:
        """See `Reader`: a text that lost its end exactly in or behind a line's last separator."""
        return self._short == number


def not_separated() -> ImportRefused:
    """The refusal of a text of other separators."""
    return ImportRefused(
        "separator",
        tr(
            "The columns of the first line are not separated by '|'.",
            "Les colonnes de la première ligne ne sont pas séparées par « | ».",
        ),
        tr(
            "Give the text file as it was published, not re-saved by another program.",
            "Donnez le fichier texte tel qu'il est publié, sans l'avoir réenregistré avec un autre"
            " logiciel.",
        ),
    )
