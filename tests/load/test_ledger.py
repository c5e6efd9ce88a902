"""The ledger sees what must not be: a run that went wrong is not called kept."""

import pytest

from tests.load.history import History, Letter
from tests.load.ledger import judge, together


def history(*, sent: float | None, shown: list[float], end: str) -> History:
    """One message from 0 to 1, due at second 1."""
    book = History()
    letter = Letter(0, 1, 1.0, timed=True, sent=sent, shown=shown, end=end)
    book.wrote(b"id", letter)
    return book


def test_what_was_kept() -> None:
    verdict = judge(history(sent=1.1, shown=[1.25], end="delivered"))
    assert verdict.holds
    assert verdict.percentiles() == (250.0, 250.0, 250.0)


@pytest.mark.parametrize(
    ("sent", "shown", "end", "counts"),
    [
        (1.1, [], "", (1, 0, 1, 0)),  # acknowledged, and nothing came of it
        (1.1, [], "delivered", (1, 0, 0, 0)),  # the server says that it was shown
        (1.1, [1.2, 1.3], "delivered", (0, 1, 0, 0)),
        (1.1, [1.2], "", (0, 0, 1, 0)),
        (None, [], "", (0, 0, 1, 0)),  # never promised, but the sender waits for ever
        (1.1, [], "expired", (0, 0, 0, 1)),
    ],
)
def test_what_was_not_kept(
    sent: float | None, shown: list[float], end: str, counts: tuple[int, int, int, int]
) -> None:
    verdict = judge(history(sent=sent, shown=shown, end=end))
    assert (verdict.lost, verdict.doubled, verdict.silent, verdict.told) == counts
    assert not verdict.holds
    assert not together([verdict, judge(History())]).holds


def test_a_skipped_position_is_a_silent_gap() -> None:
    book = history(sent=1.1, shown=[1.2], end="delivered")
    book.broken.append("skipped: position 3 to 3 after 1")
    assert judge(book).silent == 1


def test_a_read_that_the_sender_never_hears_of_is_silence() -> None:
    book = history(sent=1.1, shown=[1.2], end="delivered")
    book.wants_to_tell(b"id")
    book.gave_read(b"id")
    assert not book.letters[b"id"].over
    assert judge(book).silent == 1
    book.told_read(b"id")
    assert judge(book).holds


def test_a_read_that_a_restored_server_lost_is_not_missed() -> None:
    book = history(sent=1.1, shown=[1.2], end="delivered")
    book.wants_to_tell(b"id")
    book.restored()
    assert book.letters[b"id"].over
    assert judge(book).holds


@pytest.mark.parametrize("wanted", [False, True])
def test_a_read_that_no_reader_gave_is_noticed(wanted: bool) -> None:
    book = history(sent=1.1, shown=[1.2], end="delivered")
    if wanted:
        book.wants_to_tell(b"id")
    book.told_read(b"id")
    assert "a read that no reader gave" in judge(book).faults


def test_a_message_of_nobody_is_noticed() -> None:
    book = History()
    book.shown(b"other", 1, 2.0)
    assert not judge(book).holds


async def test_waiting_ends_when_every_sender_knows() -> None:
    book = history(sent=1.1, shown=[1.2], end="")
    assert not await book.until_over(0.01)
    book.ended(b"id", "delivered")
    assert await book.until_over(0.01)
