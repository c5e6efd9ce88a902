"""When a line counts as slow: a few late echoes in a row, and a few quick ones until it is well."""

from collections.abc import Sequence

import pytest

from miss_server.doorbell.echoes import IN_A_ROW, SLOW_SECONDS, WELL_SECONDS, Echoes

LATE, SO_SO, QUICK = SLOW_SECONDS + 0.1, (SLOW_SECONDS + WELL_SECONDS) / 2, 0.001


def after(*took: float) -> Echoes:
    """Words that came back after so long, one after the other."""
    echoes, now = Echoes(), 100.0
    for number, seconds in enumerate(took):
        echoes.said(number, now)
        now += seconds
        echoes.heard(number, now)
    return echoes


@pytest.mark.parametrize(
    ("took", "slow"),
    [
        ([], False),
        ([LATE] * (IN_A_ROW - 1), False),
        ([LATE] * IN_A_ROW, True),
        ([LATE] * (IN_A_ROW - 1) + [QUICK] + [LATE] * (IN_A_ROW - 1), False),
        ([SO_SO] * 20, False),
        ([LATE] * IN_A_ROW + [SO_SO] * 20, True),
        ([LATE] * IN_A_ROW + [QUICK] * (IN_A_ROW - 1), True),
        ([LATE] * IN_A_ROW + [QUICK] * IN_A_ROW, False),
        ([LATE] * IN_A_ROW + [QUICK, QUICK, LATE, QUICK, QUICK], True),
    ],
)
def test_a_verdict_is_changed_by_several_in_a_row(took: Sequence[float], slow: bool) -> None:
    assert after(*took).slow is slow


def test_each_is_measured_from_its_own_word() -> None:
    echoes = Echoes()
    for number in range(10):
        echoes.said(number, number * 0.1)
    for number in range(10):
        echoes.heard(number, number * 0.1 + QUICK)
    assert not echoes.slow
    for number in range(10, 20):
        echoes.said(number, number * 0.1)
    for number in range(10, 20):
        echoes.heard(number, number * 0.1 + LATE)
        echoes.heard(number, number * 0.1 + QUICK)  # a further piece of it says nothing new
    assert echoes.slow


def test_what_never_came_back_is_left_out() -> None:
    echoes = Echoes()
    for number in range(30):
        echoes.said(number, float(number))
        if number % 10 == 9:
            echoes.heard(number, number + LATE)
    assert echoes.slow
    echoes.heard(29, 100.0)
    echoes.heard(99, 100.0)
    assert echoes.slow
