"""Devices that search: `python -m tests.load.searching URL SECONDS DEVICE KEY RATE [DEVICE KEY RATE...]`.

A process of its own, and a nice one, as `guessing` is. Prints `begun`, then how often each device got
which answer.
"""

import asyncio
import json
import os
import sys
from collections import Counter

import httpx2
from nacl.signing import SigningKey

from miss_protocol.ids import DeviceId
from tests.support.signing import Signing, sign

ANSWER_SECONDS = 60.0
TRIES = 3


async def search(
    client: httpx2.AsyncClient, device: DeviceId, key: SigningKey, rate: float, seconds: float
) -> Counter[str]:
    """Search at a steady rate, whatever the answers take; how often which answer came."""
    loop, answers = asyncio.get_running_loop(), Counter[str]()

    async def one(number: int) -> None:
        word = f"{'abcdefghijklmnopqrstuvwxyz'[number % 26]}{'aeiou'[number % 5]}"
        for _ in range(TRIES):
            request = client.build_request("GET", f"/v1/directory?q={word}")
            sign(request, b"", device, key, Signing())
            try:
                said = f"HTTP {(await client.send(request)).status_code}"
            except httpx2.HTTPError as error:
                said = type(error).__name__
            # A kept connection may end in the moment in which it is taken again: clients ask again.
            if said != "RemoteProtocolError":
                break
        answers[said] += 1

    async with asyncio.TaskGroup() as group:
        begun = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begun + number / rate - loop.time())
            group.create_task(one(number))
    return answers


async def play(url: str, seconds: float, devices: list[str]) -> list[Counter[str]]:
    """Let each device, its key and its rate given in turn, search for so long."""
    async with httpx2.AsyncClient(base_url=url, timeout=ANSWER_SECONDS) as client:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        return await asyncio.gather(
            *(
                search(
                    client,
                    DeviceId(bytes.fromhex(device)),
                    SigningKey(bytes.fromhex(key)),
                    float(rate),
                    seconds,
                )
                for device, key, rate in zip(
                    devices[::3], devices[1::3], devices[2::3], strict=True
                )
            )
        )


def main() -> None:
    """Search, then tell."""
    url, seconds, *devices = sys.argv[1:]
    os.nice(19)
    sys.stdout.write(json.dumps(asyncio.run(play(url, float(seconds), devices))) + "\n")


if __name__ == "__main__":
    main()
