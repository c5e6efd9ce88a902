"""A whole MiSS to play against: a server, a fictive directory, codes, an echo colleague, faults.

For an app's developer, or a class of ten: nothing in it is real, and it forgets everything at the
end. What clients connect to is a `Line`, so that the faults of real networks can be switched on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from miss_client.client import Client
from miss_client.demo.cast import PEOPLE, Device, first_device
from miss_client.demo.stage import Stage
from miss_client.events import MessageReceived
from miss_client.line import Line
from miss_client.words import tr

Say = Callable[[str], None]

HELP = tr(
    "codes N | slow | offline | drop | good | who | help | quit",
    "codes N | slow (lent) | offline (coupé) | drop (réponse perdue) | good (normal) | who | help"
    " | quit",
)


@dataclass
class Sandbox:
    """A running one. `obey` takes a line that somebody typed."""

    stage: Stage
    line: Line
    echo: Device
    people: list[str]
    say: Say
    _given: int = field(default=0)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.line.url

    async def codes(self, count: int) -> list[tuple[str, str]]:
        """Fresh codes for the next `count` fictive people: (national identifier, code)."""
        wanted = self.people[self._given : self._given + count]
        self._given += len(wanted)
        if not wanted:
            return []
        issued = await self.stage.codes(wanted)
        return [(person, issued[person]) for person in wanted]

    async def obey(self, typed: str) -> bool:
        """Do what was typed; False to end."""
        word, _, rest = typed.strip().lower().partition(" ")
        match word:
            case "":
                return True
            case "quit" | "exit" | "q":
                return False
            case "codes" | "code":
                for person, code in await self.codes(int(rest) if rest.isdigit() else 1):
                    self.say(f"{person}  {code}")
            case "slow":
                self.line.slow = True
                self.say(tr("2 KB/s from now on", "2 Ko/s désormais"))
            case "offline":
                self.line.go_offline()
                self.say(tr("nobody gets through", "plus rien ne passe"))
            case "drop":
                self.line.drop_next_reply()
                self.say(tr("the next answer will be lost", "la prochaine réponse sera perdue"))
            case "good":
                self.line.slow = False
                self.line.go_online()
                self.say(tr("the line is good again", "la ligne est de nouveau bonne"))
            case "who":
                self.say(f"{self.echo.client.name}  {self.echo.account}")
            case _:
                self.say(HELP)
        return True


@asynccontextmanager
async def open_sandbox(
    folder: Path, *, say: Say, people: int = 2000, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Sandbox]:
    """Start everything; it ends with the block."""
    async with AsyncExitStack() as stack:
        stage = Stage(folder)
        stack.push_async_callback(stage.stop)
        await stage.make_directory(people)
        await stage.start()
        line = await stack.enter_async_context(
            Line("127.0.0.1", stage.port, listen_host=host, listen_port=port)
        )
        code = (await stage.codes([PEOPLE["cardiologist"]]))[PEOPLE["cardiologist"]]
        echo = await first_device(stage.url, code, folder / "echo.store", "echo")
        stack.push_async_callback(echo.leave)
        answering = asyncio.create_task(_answer(echo.client))
        stack.callback(answering.cancel)
        yield Sandbox(stage, line, echo, _others(folder / "register.txt"), say)


async def _answer(client: Client) -> None:
    async for event in client.events():
        if isinstance(event, MessageReceived) and not event.own:
            await client.read(event.id)
            await client.send([event.sender], f"Echo : {event.text}")


def _others(register: Path) -> list[str]:
    """The national identifiers of the fictive register, without the echo colleague's."""
    with register.open(encoding="utf-8-sig") as lines:
        column = next(lines).split("|").index("Identification nationale PP")
        found = dict.fromkeys(line.split("|")[column] for line in lines)
    return [person for person in found if person != PEOPLE["cardiologist"]]
