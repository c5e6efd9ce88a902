"""The table of the faults: what a run in part leaves of it, and what it replaces."""

from tests.load.ledger import Verdict
from tests.load.table import merged

NAMES = ("one", "two", "three")


def test_a_run_in_part_replaces_its_rows_and_leaves_the_others() -> None:
    first = [(name, 3, Verdict(messages=10)) for name in ("three", "one", "forgotten")]
    before = "\n".join(merged("", first, [*NAMES, "forgotten"], "make faults", "aaaa", "a machine"))
    second = [("two", 1, Verdict(messages=7, lost=2)), ("one", 1, Verdict(messages=8))]
    after = merged(before, second, NAMES, "make faults", "bbbb", "another")
    rows = [line.split(" | ") for line in after if line.startswith("| ")][1:]
    assert [(row[0], row[2], row[3], row[-1]) for row in rows] == [
        ("| one", "8", "0", "bbbb |"),
        ("| two", "7", "2", "bbbb |"),
        ("| three", "10", "0", "aaaa |"),
    ]
    assert after[-2:] == ["* aaaa: `make faults` on a machine", "* bbbb: `make faults` on another"]
    last = merged("\n".join(after), [("three", 1, Verdict())], NAMES, "make", "bbbb", "another")
    assert last[-2:] == ["", "* bbbb: `make` on another"]
