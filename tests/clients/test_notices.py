"""What its user is to know of an account reaches them on a connection that is up, and once it is."""

from dataclasses import replace

import pytest

from miss_client.events import AccountRestricted
from tests.clients.conftest import QUICK, World, until
from tests.clients.test_standing import command

pytestmark = pytest.mark.timeout(60)
WHY = "Publicité : charte, article 4."


async def test_a_restriction_is_told_to_who_follows_events(world: World) -> None:
    gp = await world.enrol("gp", timing=replace(QUICK, look_every=0.01))
    async with gp:
        await gp.drained()
        assert gp.notices.asked_ms is None  # there is nobody to tell
        events = gp.events()
        await gp.notices.look_if_due()
        await command(world, "accounts", "restrict", gp.account, "--reason", WHY)
        gp.notices.asked_ms = None  # a day later, say
        told = await until(events, AccountRestricted)
        assert told.reason == WHY
        asked = gp.notices.asked_ms
        assert asked is not None
        assert asked >= told.since
        await gp.notices.look_if_due()
        assert gp.notices.asked_ms == asked
    gp = world.reopen(gp)
    events = gp.events()
    async with gp:  # a new start tells it anew
        assert await until(events, AccountRestricted) == told
