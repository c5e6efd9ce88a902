"""Plays around a message: a start, a login, sent, refused, delivered, acknowledged, read, expired."""

import asyncio

from miss_protocol import frames as f
from tests.crash.stage import Play, Stage
from tests.support.wire import server_info


async def send_once(stage: Stage) -> f.Send:
    """The play's message: written once, however often the play goes on."""
    if "send" not in stage.memory:
        stage.memory["send"] = stage.gp.write(stage.phone.person)
    send: f.Send = stage.memory["send"]
    await stage.gp.flush()
    return send


class Start(Play):
    """The server starts; nothing else."""

    async def act(self, stage: Stage) -> None:
        assert (await server_info(stage.server)).domain == stage.server.domain

    async def check(self, stage: Stage) -> None:
        async with stage.gp.live() as gp, stage.phone.live() as phone:
            send = await send_once(stage)
            await gp.settled()
            await phone.until(lambda: phone.kept == [send.id])


class Login(Play):
    """A device says hello, and leaves again."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            send = await send_once(stage)
            await gp.settled()
        async with stage.phone.live() as phone:
            await phone.until(lambda: phone.kept == [send.id])
            await phone.settled()

    async def act(self, stage: Stage) -> None:
        async with stage.gp.live():
            pass

    async def check(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.gp.live() as gp, stage.phone.live(), stage.tablet.live() as tablet:
            await tablet.settled()
            await gp.until(lambda: gp.states(send) == ["delivered", "delivered"])
        assert stage.phone.kept == stage.tablet.kept == [send.id]


class Live(Play):
    """A message between two who are connected: sent, delivered, acknowledged, told."""

    async def act(self, stage: Stage) -> None:
        async with stage.phone.live() as phone, stage.gp.live() as gp:
            send = await send_once(stage)
            await gp.settled()
            await phone.until(lambda: phone.kept == [send.id])
            await phone.settled()
            await gp.until(lambda: "delivered" in gp.states(send))

    async def check(self, stage: Stage) -> None:
        async with stage.tablet.live() as tablet:
            await tablet.settled()
        async with stage.gp.live() as gp:
            [send] = [stage.memory["send"]]
            assert isinstance(gp.answers[send.sn], f.Sent)
            await gp.until(lambda: gp.states(send) == ["delivered", "delivered"])
        async with stage.phone.live() as phone:
            assert phone.kept == stage.tablet.kept == [send.id]
        assert not stage.phone.gaps


class Waiting(Play):
    """Messages that wait for a device that comes later, in JSON."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            stage.memory["sends"] = [gp.write(stage.phone.person) for _ in range(2)]
            await gp.flush()
            await gp.settled()

    async def act(self, stage: Stage) -> None:
        stage.phone.subprotocol = f.JSON
        ids = [send.id for send in stage.memory["sends"]]
        async with stage.phone.live() as phone:
            await phone.until(lambda: phone.kept == ids)
            await phone.settled()

    async def check(self, stage: Stage) -> None:
        ids = [send.id for send in stage.memory["sends"]]
        async with stage.tablet.live() as tablet, stage.phone.live() as phone:
            await tablet.settled()
            assert tablet.kept == phone.kept == ids
        async with stage.gp.live() as gp:
            for send in stage.memory["sends"]:
                await gp.until(lambda send=send: gp.states(send) == ["delivered"] * 2)  # type: ignore[misc]


class Crowd(Play):
    """Many sends of two devices at once, which share commits: each is whole or undone, in order."""

    async def act(self, stage: Stage) -> None:
        gp, phone = stage.gp, stage.phone
        if "gp" not in stage.memory:
            stage.memory["gp"] = [gp.write(phone.person).id for _ in range(4)]
            stage.memory["phone"] = [phone.write(gp.person).id for _ in range(2)]
        async with gp.live(), phone.live():
            await asyncio.gather(gp.flush(), phone.flush())
            await gp.settled()
            await phone.settled()
            await phone.until(lambda: phone.kept == stage.memory["gp"])
            await gp.until(lambda: gp.kept == stage.memory["phone"])
            await gp.settled()
            await phone.settled()

    async def check(self, stage: Stage) -> None:
        async with stage.tablet.live() as tablet:  # the doctor's own messages come here, too
            await tablet.settled()
        for sent in (stage.memory["gp"], stage.memory["phone"]):
            assert [id for id in tablet.kept if id in sent] == sent
        assert len(tablet.kept) == 6
        async with stage.gp.live() as gp, stage.phone.live() as phone:
            await gp.until(
                lambda: all(
                    sorted(gp.statuses.get(id, {}).values()) == ["delivered"] * 2
                    for id in stage.memory["gp"]
                )
            )
            assert (gp.kept, phone.kept) == (stage.memory["phone"], stage.memory["gp"])


class Refused(Play):
    """A send that is refused uses up its number; the next one goes through."""

    async def act(self, stage: Stage) -> None:
        gp, doctor = stage.gp, stage.phone.person
        if not gp.sn:
            old = (f.RosterUsed(gp.person.account, 1), f.RosterUsed(doctor.account, 1))
            stage.memory["bad"] = gp.write(doctor, rosters=old)
            stage.memory["send"] = gp.write(doctor)
        async with gp.live():
            await gp.settled()

    async def check(self, stage: Stage) -> None:
        bad, good = stage.memory["bad"], stage.memory["send"]
        async with stage.gp.live() as gp:  # both asked again: the same answers
            gp.outbox = {bad.sn: bad, good.sn: good}
            await gp.flush()
            await gp.settled()
            refused = gp.answers[bad.sn]
            assert isinstance(refused, f.Refused)
            assert (refused.code, gp.sn) == ("stale_roster", 2)
            assert isinstance(gp.answers[good.sn], f.Sent)
        async with stage.phone.live() as phone, stage.tablet.live() as tablet:
            assert phone.kept == tablet.kept == [good.id]


class Nack(Play):
    """A message that the phone cannot open and the tablet can."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            await send_once(stage)
            await gp.settled()

    async def act(self, stage: Stage) -> None:
        send = stage.memory["send"]
        stage.phone.unreadable = {send.id}
        async with stage.phone.live() as phone:
            await phone.until(lambda: send.id in phone.rows)
            await phone.settled()
        async with stage.gp.live() as gp:
            await gp.until(lambda: "undecryptable" in gp.states(send))

    async def check(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.tablet.live() as tablet, stage.phone.live() as phone:
            assert (tablet.kept, phone.kept, phone.gaps) == ([send.id], [], [])
            await tablet.settled()
        async with stage.gp.live() as gp:
            await gp.until(lambda: gp.states(send) == ["delivered", "undecryptable"])


class Read(Play):
    """The receipt of a reader, long after the delivery, and a status that waits for the sender."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.phone.live() as phone, stage.gp.live() as gp:
            send = await send_once(stage)
            await phone.until(lambda: phone.kept == [send.id])
            await phone.settled()
            await gp.until(lambda: "delivered" in gp.states(send))
        phone.receipts.append(phone.read_receipt(send.id))

    async def act(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.phone.live() as phone:
            await phone.settled()
        async with stage.gp.live() as gp:
            await gp.until(lambda: "read" in gp.states(send))

    async def check(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.tablet.live() as tablet:
            await tablet.settled()
        async with stage.gp.live() as gp:
            await gp.until(lambda: gp.states(send) == ["delivered", "read"])
        async with stage.phone.live() as phone:
            assert phone.kept == stage.tablet.kept == [send.id]


class Expiry(Play):
    """A message past its time becomes a gap for its reader and an end for its sender."""

    clock_ahead = 3600.0

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            stage.memory["send"] = gp.write(stage.phone.person, ttl=60)
            await gp.flush()
            await gp.settled()

    async def act(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.phone.live() as phone, stage.gp.live() as gp:
            await phone.settled()
            await gp.until(lambda: gp.states(send) == ["expired", "expired"])

    async def check(self, stage: Stage) -> None:
        async with stage.phone.live() as phone, stage.tablet.live() as tablet:
            for device in (phone, tablet):
                assert not device.kept
                assert [(gap.reason, gap.count) for gap in device.gaps] == [("expired", 1)]
        async with stage.gp.live() as gp:
            assert gp.states(stage.memory["send"]) == ["expired", "expired"]
