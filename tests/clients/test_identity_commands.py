"""`miss enrol --provider` and `miss identity`: real commands, a real server, a real provider."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.clients.test_identity_provider import Signing, signing
from tests.support.provider import claims_of
from tests.support.server import environment

__all__ = ["signing"]
pytestmark = pytest.mark.timeout(110)


async def run(signing: Signing, home: Path, *words: str) -> tuple[int, str]:
    """One `miss` command, whose user opens the address that it shows and types the page's code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "miss_client", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment()
        | {
            "MISS_HOME": str(home),
            "MISS_PROVIDERS": signing.provider.discovery,
            "PYTHONUNBUFFERED": "1",
        },
    )
    assert process.stdout is not None
    assert process.stdin is not None
    told = b""
    while line := await process.stdout.readline():
        told += line
        if found := re.match(rb"(http://127\.0\.0\.1:\d+/wallet/auth\S+)", line):
            page = await signing.provider.sign_in(found[1].decode(), signing.server.url)
            code = page.text.split("<strong>")[1].split("</strong>")[0] if page.is_success else ""
            process.stdin.write(code.encode() + os.linesep.encode())
            await process.stdin.drain()
    return await process.wait(), told.decode()


async def test_a_person_enrols_by_the_provider_and_proves_it_anew(
    signing: Signing, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    server = ("--server", signing.server.url)
    await signing.provider.control(person=claims_of(signing.person("gp")), refuse="access_denied")
    status, said = await run(signing, home, "enrol", "--provider", "--accept-charter", *server)
    assert (status, "[sign_in_refused]" in said) == (1, True), said
    await signing.provider.control(refuse="")
    status, said = await run(signing, home, "enrol", "--provider", "--accept-charter", *server)
    assert (status, "Enrolled: " in said) == (0, True), said
    status, said = await run(signing, home, "identity")
    assert (status, "Vouched for by the identity provider" in said) == (0, True), said
    assert "(eidas1)" in said
    status, said = await run(signing, home, "identity", "--renew")
    assert (status, "proven on" in said) == (0, True), said
    other = tmp_path / "other"
    status, said = await run(signing, other, "enrol", "--provider", "--accept-charter", *server)
    assert (status, "[already_enrolled]" in said) == (1, True), said
    assert list(other.glob("*.miss*")) == []  # keys that can never be enrolled are not kept
