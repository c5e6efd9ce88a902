"""Plays at the limits of a server: a mailbox without room, and an orderly end that is cut short."""

import signal

from miss_protocol import frames as f
from tests.crash.stage import Play, Stage


class Quota(Play):
    """A tablet that is away has no room: one gap stands for all that came for it, and the sender is
    told so for each; the phone gets everything (rule C3)."""

    room = 2

    async def prepare(self, stage: Stage) -> None:
        async with stage.phone.live() as phone, stage.gp.live() as gp:
            sends = stage.memory["before"] = [gp.write(phone.person) for _ in range(self.room)]
            await gp.flush()
            await gp.settled()
            await phone.until(lambda: phone.kept == [send.id for send in sends])
            await phone.settled()

    async def act(self, stage: Stage) -> None:
        gp, phone, memory = stage.gp, stage.phone, stage.memory
        if "sends" not in memory:
            memory["sends"] = [gp.write(phone.person) for _ in range(2)]
        kept = [send.id for send in memory["before"] + memory["sends"]]
        async with phone.live(), gp.live():
            await gp.settled()
            await phone.until(lambda: phone.kept == kept)
            await phone.settled()
            await gp.until(lambda: all("delivered" in gp.states(one) for one in memory["sends"]))
        async with stage.tablet.live() as tablet:
            await tablet.settled()

    async def check(self, stage: Stage) -> None:
        gp, phone, tablet, memory = stage.gp, stage.phone, stage.tablet, stage.memory
        for send in memory["sends"]:
            answer = gp.answers[send.sn]
            assert isinstance(answer, f.Sent)
            assert [(one.device, one.code) for one in answer.refused] == [
                (tablet.id, "mailbox_full")
            ]
        assert [(gap.reason, gap.first, gap.last) for gap in tablet.gaps] == [("quota", 3, 3)]
        async with phone.live(), tablet.live(), gp.live():
            await gp.until(
                lambda: all(gp.states(one) == ["delivered"] * 2 for one in memory["before"])
            )
            await gp.until(
                lambda: all(gp.states(one) == ["delivered", "refused"] for one in memory["sends"])
            )
            last = gp.write(phone.person)  # there is room again
            await gp.flush()
            ids = [send.id for send in memory["before"]]
            await tablet.until(lambda: tablet.kept == [*ids, last.id])
            ids += [send.id for send in memory["sends"]]
            await phone.until(lambda: phone.kept == [*ids, last.id])
        assert len(tablet.gaps) == 1


class Drain(Play):
    """The server is told to end under two who talk, and dies before it has ended in order."""

    async def act(self, stage: Stage) -> None:
        gp, phone, memory = stage.gp, stage.phone, stage.memory
        sends: list[f.Send] = memory.setdefault("sends", [])

        async def talk() -> None:
            sends.append(gp.write(phone.person))
            await gp.flush()
            await gp.settled()

        async with phone.live(), gp.live():
            await gp.settled()
            if "told" not in memory:
                await talk()
                await gp.until(lambda: "delivered" in gp.states(sends[0]))
                memory["told"] = True
                assert stage.server.process is not None
                stage.server.process.send_signal(signal.SIGTERM)
                while True:
                    await talk()  # until the connection ends
            await phone.until(lambda: phone.kept == [send.id for send in sends])
            await phone.settled()

    async def check(self, stage: Stage) -> None:
        gp, sends = stage.gp, stage.memory["sends"]
        ids = [send.id for send in sends]
        async with stage.tablet.live() as tablet:
            await tablet.settled()
        assert tablet.kept == stage.phone.kept == ids
        async with gp.live():
            await gp.until(lambda: all(gp.states(one) == ["delivered"] * 2 for one in sends))
        assert all(isinstance(gp.answers[one.sn], f.Sent) for one in sends)
