"""Reads the register's skills (`PS_LibreAcces_SavoirFaire`): one line a speciality of a person."""

from typing import ClassVar

from miss_server.importers.activities import REGISTER
from miss_server.importers.bars import BarReader
from miss_server.importers.identifiers import fault, storable
from miss_server.importers.readers import Unusable


class SkillReader(BarReader):
    """The reader of skills. They are added to persons of the activities, joined by the national
    identifier; a line of somebody who has none makes no entry."""

    source = REGISTER
    kind = "skills"
    NEEDED: ClassVar = {
        "key": "Identification nationale PP",
        "speciality_code": "Code savoir-faire",
        "speciality": "Libellé savoir-faire",
    }

    def begin(self, header: str) -> None:
        """See `Reader`."""
        super().begin(header)
        self._key = self.found["key"]

    def check(self, columns: list[str], number: int) -> None:
        """See `BarReader`."""
        national = columns[self._key]
        wrong = fault(national[:1], national[1:], national)
        if wrong is not None:
            if not storable(national):
                raise Unusable(wrong)
            self.warn(number, wrong)
