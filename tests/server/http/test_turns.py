"""What strangers of one name want written is written in turn, and together."""

import asyncio
from collections.abc import Sequence

import pytest

from miss_server.http.turns import Together


class Written:
    """What was written, write by write; each begins when it may."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.may_write = asyncio.Semaphore(0)
        self.begun = asyncio.Semaphore(0)

    async def write(self, some: Sequence[str]) -> list[Exception | None]:
        self.writes.append(list(some))
        self.begun.release()
        await self.may_write.acquire()
        if "broken" in some:
            raise OSError("no disk")
        return [ValueError(one) if one == "wrong" else None for one in some]


async def test_what_comes_during_a_write_shares_the_next() -> None:
    written = Written()
    together = Together(written.write, 3)
    puts = [asyncio.create_task(together.put("here", "a"))]
    await written.begun.acquire()
    puts += [asyncio.create_task(together.put("here", text)) for text in ("b", "wrong", "c", "d")]
    elsewhere = asyncio.create_task(together.put("there", "z"))
    await written.begun.acquire()
    assert written.writes == [["a"], ["z"]]
    for _ in range(4):
        written.may_write.release()
    told = await asyncio.gather(*puts, elsewhere, return_exceptions=True)
    assert written.writes == [["a"], ["z"], ["b", "wrong", "c"], ["d"]]
    assert [type(one) for one in told] == [*[type(None)] * 2, ValueError, *[type(None)] * 3]


async def test_who_goes_away_takes_nobody_along() -> None:
    written = Written()
    together = Together(written.write, 2)
    puts = [asyncio.create_task(together.put("here", "a"))]
    await written.begun.acquire()
    texts = ("b", "c", "broken", "e", "f")
    puts += [asyncio.create_task(together.put("here", text)) for text in texts]
    await asyncio.sleep(0)
    puts[0].cancel()
    puts[2].cancel()
    await asyncio.wait(puts[::2][:2])
    for _ in range(4):
        written.may_write.release()
    told = await asyncio.gather(*puts, return_exceptions=True)
    assert written.writes == [["a"], ["b", "c"], ["broken", "e"], ["f"]]
    assert [type(one).__name__ for one in told] == [
        *("CancelledError", "NoneType", "CancelledError", "OSError", "OSError", "NoneType"),
    ]
    written.may_write.release()
    await together.put("here", "g")


async def test_a_refusal_is_its_own() -> None:
    written = Written()
    written.may_write = asyncio.Semaphore(9)
    together = Together(written.write, 2)
    with pytest.raises(ValueError, match="wrong"):
        await together.put("here", "wrong")
    await together.put("here", "right")


async def test_nobody_waits_for_a_write_that_was_given_up() -> None:
    written = Written()
    together = Together(written.write, 1)
    puts = [asyncio.create_task(together.put("here", "a"))]
    await written.begun.acquire()
    puts.append(asyncio.create_task(together.put("here", "b")))
    await asyncio.sleep(0)
    [writing] = together._writing
    writing.cancel()
    told = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(one) for one in told] == [asyncio.CancelledError] * 2
    written.may_write.release()
    await together.put("here", "c")
