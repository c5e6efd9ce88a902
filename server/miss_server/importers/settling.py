"""Says in which commune an address is where its source leaves that open.

National files leave the commune empty beside a `Bureau cedex` of "75015 PARIS", "59037 LILLE CEDEX" or "LILLE
CEDEX" alone, and the file of mailboxes has no column for it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from miss_server.importers.lines import FIELDS
from miss_server.storage.geography import Geography

FRANCE = frozenset({"", "france", "France", "FRANCE"})
REMEMBERED = 20_000

_CEDEX = re.compile(r"(?:(?P<postcode>[0-9]{5})\s+)?(?P<city>.+)")
_CEDEX_MARK = re.compile(r"(^|\s+)cedex(\s+[0-9]+)?$", re.IGNORECASE)
_AT = {field: place for place, field in enumerate(FIELDS)}
_CEDEX_AT, _POSTCODE_AT, _CITY_AT = _AT["cedex"], _AT["postcode"], _AT["city"]
COMMUNE_AT = _AT["commune"]
_COUNTRY_AT, _DEPARTMENT_AT = _AT["country"], _AT["department_code"]


class Settling:
    """Completes lines with a geography: fields of a line (in the order of `Line`) in, and out."""

    def __init__(self, geography: Geography) -> None:
        self._code = lru_cache(REMEMBERED)(geography.code)

    def settled(self, fields: Sequence[str]) -> Sequence[str]:
        """A line's fields with postcode, city and commune as far as they can be known. Call it if the
        commune is empty."""
        cedex, postcode, city = fields[_CEDEX_AT], fields[_POSTCODE_AT], fields[_CITY_AT]
        if not (cedex or postcode) or fields[_COUNTRY_AT] not in FRANCE:
            return fields
        within = postcode
        of_cedex = _CEDEX.fullmatch(cedex) if cedex and not city else None
        # Without a postcode in front, only the mark tells a town from whatever else somebody wrote there.
        if of_cedex and (of_cedex["postcode"] or _CEDEX_MARK.search(cedex)):
            postcode = postcode or of_cedex["postcode"] or ""
            city = _CEDEX_MARK.sub("", of_cedex["city"])
            within = postcode or department_number(fields[_DEPARTMENT_AT])
        completed = list(fields)
        completed[_POSTCODE_AT], completed[_CITY_AT] = postcode, city
        completed[COMMUNE_AT] = self._code(within, city)
        return completed


def department_number(code: str) -> str:
    """A department's number as postcodes begin with it, "59" of "059"; empty if there is none."""
    return code.removeprefix("0").rjust(2, "0") if code else ""
