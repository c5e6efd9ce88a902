"""A team of twelve writes to each other as a matter of course; nobody writes to eleven thousand."""

import random
from pathlib import Path

from miss_protocol import frames as f
from tests.load.crowd import enrol_people
from tests.support.devices import address
from tests.support.server import ServerProcess
from tests.support.wire import Device

EVERYBODY = 11_000


def code(reply: f.Sent | f.Refused | f.RetrySend) -> str:
    """The answer's code, `sent` for none."""
    return "sent" if isinstance(reply, f.Sent) else reply.code


async def test_a_team_of_twelve_is_normal_and_a_mailing_is_not(tmp_path: Path) -> None:
    database = tmp_path / "miss.sqlite"
    people = await enrol_people(database, 40, random.Random(5))
    server = ServerProcess(database, tmp_path / "server.log", budgets=True)
    await server.start()
    try:
        team, others = people[:12], people[12:]
        phones = [Device(server, person) for person in team]
        for one in phones:  # each to all the others, the first as strangers
            async with one.online() as line:
                rest = [person for person in team if person is not one.person]
                assert code(await line.settle(one.send(*rest))) == "sent"
        async with phones[0].online() as line:
            for _ in range(5):
                assert code(await line.settle(phones[0].send(*team[1:]))) == "sent"
        bot = Device(server, others[0])
        async with bot.online() as line:
            first, *_ = others[1:]
            rosters = tuple(f.RosterUsed(address(), 1) for _ in range(EVERYBODY // 4))
            send = bot.send(first, rosters=rosters)
            assert code(await line.settle(send)) == "too_many_recipients"
            answers = [code(await line.settle(bot.send(person))) for person in others[1:]]
            assert answers == ["sent"] * 20 + ["budget_spent"] * 7
    finally:
        await server.stop()
