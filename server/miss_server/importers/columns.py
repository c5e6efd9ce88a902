"""Finds the columns of a file by their names, never by their place.

Sources add columns, move and respell them. Names are compared without accents, case, punctuation and
the words that only some generations write.
"""

from collections.abc import Mapping, Sequence

from miss_protocol.directory import normalise
from miss_server.importers.refusal import ImportRefused
from miss_server.words import tr

_UNTOLD = {"d", "coord"}


def column_key(column: str) -> str:
    """A column's name as names are compared."""
    return " ".join(word for word in normalise(column) if word not in _UNTOLD)


Names = str | tuple[str, ...]
"""The name of a column, or those that it has had, the best first."""


def places(
    columns: Sequence[str], needed: Mapping[str, Names], optional: Mapping[str, Names]
) -> dict[str, int]:
    """The index of each field's column; fields of `optional` that have none are missing.

    Raises:
        ImportRefused: `column_missing`, `column_twice`.
    """
    keys = [column_key(column) for column in columns]
    found = {}
    for field, names in (*needed.items(), *optional.items()):
        column = _first(keys, names)
        count = keys.count(column_key(column))
        if count > 1:
            raise ImportRefused(
                "column_twice",
                tr(
                    f"The column '{column}' is there twice.",
                    f"La colonne « {column} » figure deux fois.",
                ),
                _ADVICE,
            )
        if count:
            found[field] = keys.index(column_key(column))
        elif field in needed:
            raise ImportRefused(
                "column_missing",
                tr(f"The column '{column}' is missing.", f"La colonne « {column} » est absente."),
                _ADVICE,
            )
    return found


def _first(keys: Sequence[str], names: Names) -> str:
    """The first of a column's names that is there; the best one if none is."""
    if isinstance(names, str):
        return names
    return next((name for name in names if column_key(name) in keys), names[0])


_ADVICE = tr(
    "Give the file as it was published; if its source renamed its columns, this version must be"
    " updated.",
    "Donnez le fichier tel qu'il est publié ; si sa source a renommé ses colonnes, cette version doit"
    " être mise à jour.",
)
