"""The tables of what a search needs beside the directory itself.

The vocabulary of a slot has every word of letters that finds somebody in it, in the order of the alphabet,
with what is heard of it: so a misspelt word is led to those that exist. Words are only added while
a slot is amended; one whose last entry left finds nobody, and goes when the slot is written anew.
"""

from sqlalchemy import Column, String, Table

from miss_server.storage.schema import metadata

# As Python sorts, whatever the database's language: "the first word from here on" must be the same one.
_WORD = String().with_variant(String(collation="C"), "postgresql")


def _vocabulary(slot: int) -> Table:
    return Table(
        f"directory_vocabulary_{slot}",
        metadata,
        Column("word", _WORD, primary_key=True),
        Column("sound", _WORD, nullable=False, index=True, comment="see miss_protocol.spelling"),
    )


vocabulary = (_vocabulary(0), _vocabulary(1))
tables = vocabulary
