"""A record month of a national association: who writes to whom, and in which order.

5.6 million messages among 57,000 people. A working day has its peaks before noon and in the
afternoon; nights and weekends have a few people on duty, who have all the traffic of that time. Some
write a hundred times as much as others, most of it to a few colleagues; one in a hundred (a laboratory,
an emergency room) gets a quarter of everything. Two of five messages are answered within minutes.

At any time a part of the people is connected: the country is four regions, whose month is replayed
one after the other. One message in ten goes to another region, and waits until that comes.

Everything follows from the seed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

ACCOUNTS, MESSAGES = 57_000, 5_600_000
REGIONS = 4
WORKING_DAY = (
    *(0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 1.0, 3.0, 8.0, 10.0, 11.0, 10.0),
    *(6.0, 6.0, 9.0, 9.0, 9.0, 8.0, 6.0, 3.0, 1.5, 1.0, 0.6, 0.3),
)
"""How much is written in each hour."""
DAY_OFF = tuple(0.12 * hour for hour in WORKING_DAY)
DAYS = tuple(DAY_OFF if day % 7 in (5, 6) else WORKING_DAY for day in range(30))
ON_DUTY = 0.03
"""Share of people who write between 20:00 and 7:00 and on days off."""
SKEW = 1.2
"""Standard deviation of the logarithm of what somebody writes."""
COLLEAGUES = 12
ELSEWHERE, TO_HUBS, HUBS, ANSWERED = 0.1, 0.25, 0.01, 0.4
ANSWER_HOURS = 0.1
"""Mean time until an answer."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: numbers of people, and whether the recipient is in another region."""

    sender: int
    recipient: int
    elsewhere: bool


class Month:
    """`people` in `REGIONS` parts, by number: person n is of region n % REGIONS."""

    def __init__(self, people: int, messages: int, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._per_weight = messages / REGIONS / sum(map(sum, DAYS))
        self._regions = [range(region, people, REGIONS) for region in range(REGIONS)]
        self._weights = [self._chance.lognormvariate(0, SKEW) for _ in range(people)]
        self._colleagues = [self._know(number) for number in range(people)]

    def acquaintances(self) -> Iterator[tuple[int, int]]:
        """Who writes to whom at any time: each person's colleagues, who know it as well."""
        for number, colleagues in enumerate(self._colleagues):
            yield from ((number, other) for other in colleagues)

    def region(self, region: int) -> range:
        """The numbers of its people."""
        return self._regions[region]

    def days(self, region: int) -> Iterator[list[Letter]]:
        """Its month, a day's letters in their order at a time; every region once, in turn."""
        people, owed = self._regions[region], 0.0
        for number, hours in enumerate(DAYS):
            written: list[tuple[float, Letter]] = []
            everybody = self._writers(people)
            duty = self._writers(people[number % min(7, len(people)) :: round(1 / ON_DUTY)])
            for hour, weight in enumerate(hours):
                owed += weight * self._per_weight
                quiet = hours is DAY_OFF or hour < 7 or hour >= 20
                while owed >= 1:
                    owed -= self._write(hour, *(duty if quiet else everybody), written)
            written.sort(key=lambda one: one[0])
            yield [letter for _, letter in written]

    def _writers(self, people: range) -> tuple[range, list[float]]:
        return people, list(accumulate(self._weights[number] for number in people))

    def _write(
        self,
        hour: int,
        people: range,
        weights: list[float],
        written: list[tuple[float, Letter]],
    ) -> int:
        """One message, and its answer if there is one; returns how many."""
        chance = self._chance
        (sender,) = chance.choices(people, cum_weights=weights)
        recipient = self._colleagues[sender][int(COLLEAGUES * chance.random() ** 2)]
        at, elsewhere = hour + chance.random(), recipient % REGIONS != sender % REGIONS
        written.append((at, Letter(sender, recipient, elsewhere)))
        if elsewhere or chance.random() >= ANSWERED:
            return 1
        later = at + chance.expovariate(1 / ANSWER_HOURS)
        written.append((later, Letter(recipient, sender, elsewhere=False)))
        return 2

    def _know(self, number: int) -> tuple[int, ...]:
        """Whom somebody writes to, the most frequent first."""
        chance, out = self._chance, list[int]()
        while len(out) < COLLEAGUES:
            away = chance.random() < ELSEWHERE
            people = self._regions[(number + away * chance.randrange(1, REGIONS)) % REGIONS]
            hub = chance.random() < TO_HUBS
            place = chance.randrange(max(2, round(len(people) * HUBS)) if hub else len(people))
            if people[place] != number:
                out.append(people[place])
        return tuple(out)
