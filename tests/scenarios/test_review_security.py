"""Adversaries, each played against the real parts: what they try, and what must stay true."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from tests.support.hosted import Hosted, hosted
from tests.support.wire import enrolled

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A server of the test's own process."""
    async with hosted(tmp_path) as server:
        yield server


# --- a malicious enrolled device: forcing epochs ---------------------------------------------------


async def test_a_device_cannot_make_up_an_epoch(inside: Hosted) -> None:
    """One hello with an invented epoch would void everybody's prekeys and hold all sends."""
    gp, mallory = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        before = await inside.services.messages.epoch()
        async with mallory.online() as rogue:
            await rogue.caught_up()
        async with mallory.line() as rogue:
            await rogue.greet(epoch=os.urandom(16))
            assert (await rogue.next(events.Welcomed)).welcome.epoch == before
        assert await inside.services.messages.epoch() == before
        await line.ping()  # nobody else was thrown out
        claimed = await inside.services.accounts.claim_prekeys([gp.id], now_ms=0)
        assert gp.id in claimed


async def test_a_device_that_lies_about_its_digest_disturbs_others_once_at_most(
    inside: Hosted,
) -> None:
    """Only a device can tell that its server went back, and a liar tells the same. So one account
    is believed once a day; a second real restore is told by the others."""
    gp, mallory = await enrolled(inside), await enrolled(inside)
    async with mallory.line() as rogue:
        mallory.position, mallory.digest = 0, b"\x07" * 32
        rogue.session.digest = mallory.digest
        assert (await rogue.log_in()).restored
    first = await inside.services.messages.epoch()
    async with gp.online() as line:
        for _ in range(3):
            async with mallory.line() as rogue:
                rogue.session.digest = mallory.digest
                welcome = await rogue.log_in()
                assert welcome.restored  # it alone starts from what the server has
        assert await inside.services.messages.epoch() == first
        await line.ping()
    # Another account is still heard.
    async with gp.line() as line:
        gp.digest = line.session.digest = b"\x08" * 32
        await line.log_in()
    assert await inside.services.messages.epoch() != first


async def test_a_welcome_that_was_lost_after_a_restore_is_no_second_restore(inside: Hosted) -> None:
    """The server noted the new epoch for the device, the device never heard of it."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    for device in (gp, nurse):
        async with device.online() as line:
            await line.caught_up()
    old = gp.epoch
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    changed = await inside.services.messages.epoch()
    for _ in range(2):
        gp.epoch = old
        async with gp.online():
            assert gp.epoch == changed
    assert await inside.services.messages.epoch() == changed


async def test_a_copy_from_before_an_epoch_change_is_still_found_out(inside: Hosted) -> None:
    """A thief's, or a backup's, older state of a device must not send under used numbers."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        await line.caught_up()
    old = gp.epoch
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    nurse.digest = bytes(32)
    async with gp.online() as line:
        await line.settle(gp.send(nurse.person))
    async with gp.line() as line:
        await line.greet(epoch=old, sn=0)
        assert await line.closed() == CloseCode.ROLLED_BACK


async def test_a_lower_count_after_a_restore_collides_with_nothing(inside: Hosted) -> None:
    """Else one device could make every batch that its sends are in fail, and be settled apart."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        assert isinstance(await line.settle(gp.send(nurse.person)), f.Sent)
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    gp.sn = 0
    async with gp.online() as line:
        reply = await line.settle(gp.send(nurse.person))
        assert isinstance(reply, f.Sent), reply
