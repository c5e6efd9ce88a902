"""Plays by HTTP: the twins of sending and fetching, prekeys, the charter."""

import msgspec

from miss_protocol import api
from miss_protocol import frames as f
from miss_protocol.digest import envelope_hash, roll
from miss_protocol.identity import prekeys
from tests.crash.party import Party
from tests.crash.plays_messages import send_once
from tests.crash.stage import Play, Stage
from tests.support.wire import charter_signed, now_ms, server_info

REPLY = msgspec.json.Decoder(f.Sent | f.Refused | f.RetrySend)


class HttpSend(Play):
    """A send by HTTP, asked again until it is answered."""

    async def act(self, stage: Stage) -> None:
        gp, send = stage.gp, await send_once(stage)
        if send.sn in gp.outbox:
            answer = await gp.call("POST", "/v1/messages", send)
            reply = REPLY.decode(answer.content)
            assert isinstance(reply, f.Sent)
            gp.answers[send.sn] = reply
            del gp.outbox[send.sn]

    async def check(self, stage: Stage) -> None:
        gp, send = stage.gp, stage.memory["send"]
        again = await gp.call("POST", "/v1/messages", send)
        assert REPLY.decode(again.content) == gp.answers[send.sn]
        async with stage.phone.live() as phone, stage.tablet.live() as tablet:
            assert phone.kept == tablet.kept == [send.id]


async def fetch(party: Party) -> None:
    """Acknowledge what is kept and owed, then keep what waits."""
    receipts = tuple(party.receipts)
    call = api.MailboxCall(
        after=party.position,
        digest=party.digest,
        sn=party.sn,
        epoch=party.epoch,
        roster=party.person.roster.version,
        ack=f.Ack(position=party.position, receipts=receipts),
    )
    page = await party.result("POST", "/v1/mailbox", call, api.MailboxPage)
    party.epoch = page.epoch
    party.receipts = [one for one in party.receipts if one not in receipts]
    for row in page.rows:
        assert isinstance(row, f.Deliver)
        assert row.id not in party.kept, "a message came twice"
        assert row.position == party.position + 1
        row_hash = envelope_hash(row.account, row.device, row.id, row.body, row.wrap)
        party.position, party.digest = row.position, roll(party.digest, row.position, row_hash)
        party.kept.append(row.id)
        party.receipts.append(party.receipt(row))


class HttpFetch(Play):
    """A phone that was woken: it fetches by HTTP, and acknowledges with its next call."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            await send_once(stage)
            await gp.settled()

    async def act(self, stage: Stage) -> None:
        await fetch(stage.phone)
        if stage.phone.receipts:
            await fetch(stage.phone)

    async def check(self, stage: Stage) -> None:
        send = stage.memory["send"]
        async with stage.tablet.live() as tablet, stage.phone.live() as phone:
            await tablet.settled()
            assert tablet.kept == phone.kept == [send.id], "not at each device exactly once"
        async with stage.gp.live() as gp:
            await gp.until(lambda: gp.states(send) == ["delivered", "delivered"])


class PrekeyUpload(Play):
    """Prekeys are uploaded, the very same again after a lost answer."""

    async def act(self, stage: Stage) -> None:
        phone, memory = stage.phone, stage.memory
        if "blobs" not in memory:
            keys = phone.person.devices[0].new_prekeys(5, now_ms=now_ms())
            memory["blobs"] = tuple(key.encode() for key in keys)
            memory["highest"] = max(key.id for key in keys)
        upload = api.PrekeysUploaded(memory["blobs"])
        memory["count"] = await phone.result("POST", "/v1/prekeys", upload, api.PrekeyCount)

    async def check(self, stage: Stage) -> None:
        assert stage.memory["count"] == api.PrekeyCount(3 + 5, stage.memory["highest"])
        claimed = [await claim(stage) for _ in range(10)]
        once, last_resort = claimed[:8], claimed[8:]
        assert set(stage.memory["blobs"]) < set(once)
        assert len({*once, *last_resort}) == 9
        assert prekeys.decode(last_resort[0]).last_resort


async def claim(stage: Stage) -> bytes:
    """The GP asks for a prekey of the phone."""
    wanted = api.PrekeysClaimed((stage.phone.id,))
    answer = await stage.gp.result("POST", "/v1/prekeys/claim", wanted, api.Prekeys)
    [one] = answer.prekeys
    return one.prekey


class PrekeyClaim(Play):
    """A prekey is handed out. Its answer may be lost, and it is gone then: never two get one."""

    async def act(self, stage: Stage) -> None:
        stage.memory.setdefault("claimed", []).append(await claim(stage))

    async def check(self, stage: Stage) -> None:
        keys = [*stage.memory["claimed"]]
        while not prekeys.decode(one := await claim(stage)).last_resort:
            keys.append(one)
        assert len(set(keys)) == len(keys) <= 3
        if len(stage.memory["claimed"]) == 2:
            assert len(keys) == 3  # both were answered: none was lost
        count = await stage.phone.result("GET", "/v1/prekeys", None, api.PrekeyCount)
        assert count.count == 0


class Restore(Play):
    """A database that was put back: noticed as it starts, told to the phone, prekeys made anew."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.phone.live():
            pass
        await stage.server.stop()
        backup = stage.server.database.read_bytes()
        await stage.start()
        stage.memory["old"] = {await claim(stage) for _ in range(2)}
        assert await stage.server.stop() == 0  # the log is empty now
        stage.server.database.write_bytes(backup)

    async def act(self, stage: Stage) -> None:
        phone, memory = stage.phone, stage.memory
        async with phone.line() as line:
            welcome = await line.log_in()
            if "told" not in memory:
                assert isinstance(welcome.restored, int)
                assert isinstance(welcome.digest, bytes)
                phone.position, phone.digest = welcome.acked, welcome.digest
                memory["told"] = True
        if "new" not in memory:
            endpoint = phone.person.devices[0]
            keys = endpoint.new_prekeys(3, now_ms=now_ms())
            keys.append(endpoint.new_last_resort(now_ms=now_ms()))
            memory["new"] = tuple(key.encode() for key in keys)
        upload = api.PrekeysUploaded(memory["new"], welcome.epoch)
        await phone.result("POST", "/v1/prekeys", upload, api.PrekeyCount)

    async def check(self, stage: Stage) -> None:
        claimed = [await claim(stage) for _ in range(5)]
        assert set(claimed) == set(stage.memory["new"])
        assert not set(claimed) & stage.memory["old"], "a prekey was handed out twice"
        async with stage.phone.live():
            pass


class Charter(Play):
    """A device signs the charter again."""

    async def act(self, stage: Stage) -> None:
        if "signed" not in stage.memory:
            shown = (await server_info(stage.server)).charter
            stage.memory["signed"] = charter_signed(stage.gp.person, shown)
        accepted = await stage.gp.result(
            "POST", "/v1/charter", stage.memory["signed"], api.CharterAccepted
        )
        assert accepted.version == stage.memory["signed"].version

    async def check(self, stage: Stage) -> None:
        async with stage.gp.line() as line:
            assert (await line.log_in()).charter == stage.memory["signed"].version
