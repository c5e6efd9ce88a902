"""Plays around accounts: codes, enrolment, letting a device in, removing one, the directory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import msgspec

from miss_protocol import api
from miss_protocol import frames as f
from miss_protocol.directory import SearchPage
from miss_protocol.identity import roster as rosters
from miss_protocol.identity.roster import RosterEntry
from miss_protocol.ids import parse_address
from tests.crash.party import Party
from tests.crash.plays_messages import send_once
from tests.crash.stage import Play, Stage
from tests.support import register
from tests.support.devices import Person
from tests.support.wire import enrol_body, new_account, now_ms, open_call


async def told(answer: httpx2.Response) -> None:
    """The call must have succeeded."""
    assert answer.is_success, answer.content


class Enrolment(Play):
    """A new account's first device, by a code that is good once."""

    async def prepare(self, stage: Stage) -> None:
        account, code = await new_account(stage.server)
        person = Person(account)
        stage.memory["body"] = await enrol_body(stage.server, person, code)
        stage.memory["nurse"] = Party(stage.server, person)

    async def act(self, stage: Stage) -> None:
        body = stage.memory["body"]
        if "enrolled" not in stage.memory:
            answer = await open_call(
                stage.server, "POST", "/v1/enrolment/preview", api.CodeGiven(body.code)
            )
            # After a lost answer the code is used, and the enrolment is asked for again.
            assert answer.is_success or answer.json()["code"] == "code_used"
            await told(await open_call(stage.server, "POST", "/v1/enrolment", body))
            stage.memory["enrolled"] = True

    async def check(self, stage: Stage) -> None:
        nurse: Party = stage.memory["nurse"]
        other = await enrol_body(
            stage.server, Person(nurse.person.account), stage.memory["body"].code
        )
        refused = await open_call(stage.server, "POST", "/v1/enrolment", other)
        assert refused.json()["code"] == "code_used"
        async with stage.gp.live() as gp, nurse.live():
            send = gp.write(nurse.person)
            await gp.flush()
            await nurse.until(lambda: nurse.kept == [send.id])


class Approval(Play):
    """A new device is invited, asks, and is let in by a roster."""

    async def act(self, stage: Stage) -> None:
        gp, memory = stage.gp, stage.memory
        if "new" not in memory:
            memory["new"] = gp.person.make_device()
        certificate = memory["new"].certificate
        if "asked" not in memory:
            if "code" not in memory:
                made = await gp.result("POST", "/v1/links/invitations", {}, api.LinkInvitation)
                memory["code"] = made.code
            ask = api.LinkRequest(memory["code"], certificate.encode(), "tablet")
            await told(await open_call(stage.server, "POST", "/v1/links", ask))
            memory["asked"] = ask
        if "roster" not in memory:
            pending = await gp.result("GET", "/v1/links", None, api.PendingLinks)
            assert [link.certificate for link in pending.links] == [certificate.encode()]
            memory["roster"] = rosters.succeed(
                gp.person.roster,
                gp.key,
                gp.id,
                add=[RosterEntry(certificate, "tablet", approve=False)],
                now_ms=now_ms(),
            )
        proposed = api.RosterProposed(memory["roster"].encode())
        await told(await gp.call("POST", "/v1/rosters", proposed))

    async def check(self, stage: Stage) -> None:
        gp, memory = stage.gp, stage.memory
        status = await open_call(stage.server, "POST", "/v1/links/status", memory["asked"])
        assert len(status.json()["rosters"]) == memory["roster"].version
        gp.person.roster = memory["roster"]
        gp.person.devices.append(memory["new"])
        tablet = Party(stage.server, gp.person, 1)
        async with stage.phone.live() as phone, tablet.live():
            send = phone.write(gp.person)
            await phone.flush()
            await tablet.until(lambda: tablet.kept == [send.id])
        async with gp.live():
            assert gp.kept == [send.id]


class Revocation(Play):
    """The doctor's phone removes the tablet, for which a message waits."""

    async def prepare(self, stage: Stage) -> None:
        async with stage.gp.live() as gp:
            await send_once(stage)
            await gp.settled()
        phone = stage.phone
        stage.memory["roster"] = rosters.succeed(
            phone.person.roster, phone.key, phone.id, revoke=[stage.tablet.id], now_ms=now_ms()
        )

    async def act(self, stage: Stage) -> None:
        roster, send = stage.memory["roster"], stage.memory["send"]
        async with stage.gp.live() as gp:
            proposed = api.RosterProposed(roster.encode())
            await told(await stage.phone.call("POST", "/v1/rosters", proposed))
            await gp.until(lambda: "revoked" in gp.states(send))

    async def check(self, stage: Stage) -> None:
        refused = await stage.tablet.call("GET", "/v1/prekeys")
        assert refused.json()["code"] == "revoked"
        gp, send = stage.gp, stage.memory["send"]
        async with gp.live():
            stale = gp.write(stage.phone.person)
            await gp.flush()
            await gp.settled()
            assert isinstance(gp.answers[stale.sn], f.Refused)
            stage.phone.person.roster = stage.memory["roster"]
            async with stage.phone.live() as phone:
                assert phone.kept == [send.id]
                await phone.settled()
            await gp.until(lambda: gp.states(send) == ["delivered", "revoked"])


class Command(Play):
    """Something that the operator types beside a running server, and again after it ended.

    It is the command that ends at the points here, and the server that must not notice.
    """

    def words(self, stage: Stage) -> Sequence[str]:
        """What is typed."""
        raise NotImplementedError

    async def look(self, stage: Stage) -> None:
        """What holds whenever the command may have ended."""

    async def act(self, stage: Stage) -> None:
        assert await stage.server.command(*self.words(stage)) == 0, stage.server.log_text()
        await self.look(stage)

    async def cut(self, stage: Stage, *crashing: str) -> int:
        await stage.start()
        stage.server.crashing = crashing
        status = await stage.server.command(*self.words(stage))
        stage.server.crashing = ()
        await self.look(stage)
        assert await stage.server.stop() == 0
        return status


NURSE, GP, HEIR = register.activity(7), register.activity(8), register.activity(9)


async def imported(stage: Stage, *people: Mapping[str, str]) -> None:
    """Import these people."""
    words = ("directory", "import", str(_file(stage, *people)))
    assert await stage.server.command(*words) == 0, stage.server.log_text()


def _file(stage: Stage, *people: Mapping[str, str]) -> Path:
    return register.write(stage.server.database.with_name(register.STAMPED), *people)


class EnrolCode(Command):
    """The operator makes a code for a person of the directory."""

    async def prepare(self, stage: Stage) -> None:
        await imported(stage, NURSE)

    def words(self, stage: Stage) -> Sequence[str]:
        return ("enrol-code", NURSE["Identification nationale PP"], "--json")

    async def check(self, stage: Stage) -> None:
        lines = [line for line in stage.server.log_text().splitlines() if line[:1] == "{"]
        code = json.loads(lines[-1])["code"]
        answer = await open_call(stage.server, "POST", "/v1/enrolment/preview", api.CodeGiven(code))
        shown = msgspec.json.decode(answer.content, type=api.EnrolmentPreview)
        nurse = Person(parse_address(shown.account))
        body = await enrol_body(stage.server, nurse, code)
        await told(await open_call(stage.server, "POST", "/v1/enrolment", body))


class Import(Command):
    """One directory takes the place of another: the old one or the new one, never a part."""

    async def prepare(self, stage: Stage) -> None:
        await imported(stage, NURSE, GP)
        _file(stage, GP, HEIR)

    def words(self, stage: Stage) -> Sequence[str]:
        file = stage.server.database.with_name(register.STAMPED)
        return ("directory", "import", str(file), "--max-gone", "100")

    async def look(self, stage: Stage) -> None:
        assert await self.found(stage) in ({"7", "8"}, {"8", "9"})

    async def check(self, stage: Stage) -> None:
        assert await self.found(stage) == {"8", "9"}

    async def found(self, stage: Stage) -> set[str]:
        """The people that a search finds, by their serial number."""
        page = await stage.gp.result("GET", "/v1/directory?q=lille", None, SearchPage)
        return {entry.name.removeprefix("NOM") for entry in page.entries}
