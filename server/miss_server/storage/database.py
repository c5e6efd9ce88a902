"""What is wrong with a database as a whole."""


class DatabaseError(Exception):
    """The database cannot be used; the text says what to do."""


class WitnessError(DatabaseError):
    """What is beside the database cannot be read or written: nothing could be kept exactly."""


MOVED = "moved"
"""The setting of a SQLite file that was copied into PostgreSQL: where to. Nobody may use it."""
