"""The tables of what a search needs beside the directory itself.

The vocabulary of a slot has every word that finds somebody in it, in the order of the alphabet: so a search
asks for the few words that begin as typed, and a misspelt one is led to those that exist by what is heard of
them. Words are only added while a slot is amended; one whose last entry left finds nobody, and goes when
the slot is written anew.

One row has the empty word: it is written when all words are there, and says so. A slot without it was
written by a version that kept fewer, or not to its end.
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
        Column(
            "sound",
            _WORD,
            nullable=False,
            index=True,
            comment="see miss_protocol.spelling; empty: it is never guessed",
        ),
    )


vocabulary = (_vocabulary(0), _vocabulary(1))
tables = vocabulary
