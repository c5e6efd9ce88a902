"""Bots: `python -m tests.load.guessing URL RATE SECONDS`. Wrong logins and guessed codes, in turn.

A process of its own, and a nice one: bots have machines of their own, so what they compute must take
no time from the server and the clinicians. Prints `begun`, then
how often the server gave which answer.
"""

import asyncio
import base64
import json
import os
import sys
from collections import Counter

import httpx2
from nacl.signing import SigningKey
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from miss_protocol import client_session as events
from miss_protocol import frames as f
from miss_protocol.codec import client_codec
from miss_protocol.digest import EMPTY
from miss_protocol.identity.login import sign_login
from miss_protocol.ids import DeviceId

ANSWER_SECONDS = 30.0


async def guess_login(url: str) -> str:
    """Log in as a device that does not exist, with a real signature; returns the close code."""
    key, device = SigningKey.generate(), DeviceId(os.urandom(16))
    session = events.ClientSession(client_codec(), position=0, digest=EMPTY)
    async with connect(
        url.replace("http", "ws") + "/v1/ws",
        subprotocols=[Subprotocol(f.MSGPACK)],
        compression=None,
        ping_interval=None,
        proxy=None,
    ) as socket:
        try:
            while True:
                data = await socket.recv()
                assert isinstance(data, bytes)
                for event in session.receive(data):
                    if isinstance(event, events.Challenged):
                        session.hello(_hello(key, device, event.challenge))
                for message in session.data_to_send():
                    await socket.send(message)
        except ConnectionClosed as end:
            return str(end.rcvd.code) if end.rcvd else "broken off"


def _hello(key: SigningKey, device: DeviceId, challenge: f.Challenge) -> f.Hello:
    signature = sign_login(
        key,
        domain=challenge.domain,
        nonce=challenge.nonce,
        device=device,
        subprotocol=f.MSGPACK,
    )
    return f.Hello(device, signature, f.App("bot", "1", "linux"), 0, EMPTY, 0)


async def guess_code(client: httpx2.AsyncClient, url: str) -> str:
    """Try an enrolment code; returns the status."""
    code = base64.b32encode(os.urandom(10)).decode()
    answer = await client.post(f"{url}/v1/enrolment/preview", json={"code": code})
    return f"HTTP {answer.status_code}"


async def flood(url: str, rate: float, seconds: float) -> Counter[str]:
    """Guess `rate` times a second, whatever the answers take."""
    loop, answers = asyncio.get_running_loop(), Counter[str]()

    async def one(number: int, client: httpx2.AsyncClient) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                work = guess_code(client, url) if number % 2 else guess_login(url)
                answers[await work] += 1
        except (OSError, httpx2.HTTPError, WebSocketException) as error:
            answers[type(error).__name__] += 1

    async with httpx2.AsyncClient(timeout=ANSWER_SECONDS) as client, asyncio.TaskGroup() as group:
        begun = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begun + number / rate - loop.time())
            group.create_task(one(number, client))
    return answers


def main() -> None:
    """Flood, then tell."""
    url, rate, seconds = sys.argv[1:]
    os.nice(19)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps([asyncio.run(flood(url, float(rate), float(seconds)))]) + "\n")


if __name__ == "__main__":
    main()
