"""How far a typed word is from one that exists: what a search repairs when nothing fits (spec 05 §3.4).

All words are folded (`miss_protocol.directory.normalise`). Nothing here knows which words exist: whoever
searches asks a vocabulary for the ones that `edits` proposes.
"""

import re
from typing import Final

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

SHORTEST: Final = 4
"""Letters of the shortest word that is repaired whatever it is: everything is near a shorter one."""
SHORTEST_BROKEN: Final = 3
"""The same of a word that begins no other one; two letters begin too much to be what it means."""
LONGEST: Final = 24
"""Letters of the longest one: its edits are looked up one by one."""
LONG: Final = 8
"""Letters from which on a word may have two slips."""

LIKE_IT_SOUNDS: Final = 1
ONE_SLIP: Final = 2
TWO_SLIPS: Final = 5
WRONG_BEGINNING: Final = 1
"""What repairs cost: a slip that is not heard, any other one, two; and more if the first letter is
another. A search shows the cheapest first."""

_SOUNDS: Final = (
    (re.compile("ph"), "f"),
    (re.compile("th"), "t"),
    (re.compile("sch|[sc]h"), "j"),
    (re.compile("e?au(?:lt|d|t|x)?s?$|e?au"), "o"),
    (re.compile("[ae][iy]"), "e"),
    (re.compile("oe"), "e"),
    (re.compile("y"), "i"),
    (re.compile("sc(?=[ei])|c(?=[ei])|z"), "s"),
    (re.compile("g(?=[ei])"), "j"),
    (re.compile("gu(?=[ei])"), "g"),
    (re.compile("qu?|ck?"), "k"),
    (re.compile("w"), "v"),
    (re.compile("(?<=..)x$"), ""),
    (re.compile("x"), "ks"),
    (re.compile("h"), ""),
    (re.compile("m(?=[bp])"), "n"),
    (re.compile(r"(.)\1+"), r"\1"),
    (re.compile("(?<=..)[estdp]+$"), ""),
)
"""In this order, from what is written to what a French ear hears of it."""


def repairable(word: str) -> bool:
    """Whether a word may be taken for a misspelt one if it begins none: of letters only, neither short nor
    endless."""
    return SHORTEST_BROKEN <= len(word) <= LONGEST and word.isalpha()


def is_short(word: str) -> bool:
    """Whether a word has so few letters that it is repaired only if it begins none, or left out."""
    return len(word) < SHORTEST and word.isalpha()


def sound(word: str) -> str:
    """What is heard of a word: two spellings of one sound give the same text.

    Ph is f, y is i, double letters are one, final e, s, t, d and p are silent: `philippe` and `filip`
    are both `fili`.
    """
    for pattern, heard in _SOUNDS:
        word = pattern.sub(heard, word)
    return word


def edits(word: str) -> frozenset[str]:
    """Every text that one slip makes of a word: a letter left out, put in, put for another, or two
    neighbours exchanged."""
    parts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    out = {left + right[1:] for left, right in parts if right}
    out.update(left + right[1] + right[0] + right[2:] for left, right in parts if len(right) > 1)
    for left, right in parts:
        rest = right[1:]
        out.update([left + letter + right for letter in LETTERS])
        if right:
            out.update([left + letter + rest for letter in LETTERS])
    out.discard(word)
    return frozenset(out)


def slips(typed: str, meant: str) -> int:
    """How many slips lie between two words, no place touched twice; counted as 3 from three on."""
    if abs(len(typed) - len(meant)) > 2:
        return 3
    while typed and meant and typed[0] == meant[0]:
        typed, meant = typed[1:], meant[1:]
    while typed and meant and typed[-1] == meant[-1]:
        typed, meant = typed[:-1], meant[:-1]
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, one in enumerate(typed, 1):
        last, row, older = row, [i], before
        for j, other in enumerate(meant, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (one != other))
            if i > 1 and j > 1 and one == meant[j - 2] and typed[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > 2:
            return 3
        before = last
    return min(row[-1], 3)


def repair_cost(typed: str, meant: str, count: int) -> int:
    """What it costs to take `meant` for `typed`, with so many slips (1 or 2) between them."""
    if count == 1:
        cost = LIKE_IT_SOUNDS if sound(typed) == sound(meant) else ONE_SLIP
    else:
        cost = ONE_SLIP + 1 if sound(typed) == sound(meant) else TWO_SLIPS
    return cost + (WRONG_BEGINNING if typed[0] != meant[0] else 0)
