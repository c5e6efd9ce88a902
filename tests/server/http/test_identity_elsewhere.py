"""Sign-ins at a provider that is not ours: `oidc-provider-mock` as a process; doctor, health, metrics."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest

from miss_protocol import api, sign_in
from miss_protocol.ids import parse_address
from miss_server.conditions import State
from miss_server.config import Settings
from miss_server.importers.generate import DEMO_PEOPLE
from miss_server.operating.watching import ProviderWatch
from miss_server.provider import checks, settings
from miss_server.provider.settings import ProviderSettingsError
from miss_server.tallies import ProviderTally
from tests.support.devices import Person
from tests.support.people import people_directory
from tests.support.provider import ProviderProcess, claims_of, running_provider
from tests.support.server import DOMAIN, START_SECONDS, ServerProcess, environment
from tests.support.wire import Device, enrol_body, now_ms, open_call

pytestmark = pytest.mark.timeout(110)
GP = DEMO_PEOPLE["gp"].national
PATH = "/v1/identity/sign-ins"


@asynccontextmanager
async def another_provider(person: str) -> AsyncIterator[str]:
    """The provider of somebody else's making; yields its URL."""
    claims = {**claims_of(person), "sub": "f:1:somebody"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "oidc_provider_mock", "--port", "0"),
        *("--require-nonce", "true", "--user-claims", json.dumps(claims)),
        stderr=asyncio.subprocess.PIPE,
        env=environment() | {"NO_COLOR": "1"},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                line = (await process.stderr.readline()).decode()
                assert line, "it ended"
                if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                    break
        draining = asyncio.create_task(process.stderr.read())
        yield found[1]
        process.kill()
        await draining
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_provider_of_somebody_elses_making_enrols_too(tmp_path: Path) -> None:
    people_directory(tmp_path)
    async with another_provider(GP) as url:
        server = ServerProcess(
            tmp_path / "miss.sqlite",
            tmp_path / "log",
            domain=DOMAIN,
            settings=ProviderProcess(url).settings(
                MISS_PROVIDER_DISCOVERY=f"{url}/.well-known/openid-configuration",
                MISS_PROVIDER_SCOPE="openid profile",
                MISS_PROVIDER_ACR="",
                MISS_PROVIDER_CIBA="false",
            ),
        )
        await server.start()
        answer = await open_call(server, "POST", PATH, {})
        opened = msgspec.json.decode(answer.content, type=sign_in.SignInOpened)
        assert opened.provider.methods == ("code",)
        person = Person(parse_address(opened.account))
        begin = {
            "sign_in": opened.sign_in,
            "method": "code",
            "genesis": msgspec.to_builtins(person.roster.genesis),
        }
        answer = await open_call(server, "POST", f"{PATH}/begin", begin)
        assert answer.is_success, answer.content
        begun = msgspec.json.decode(answer.content, type=sign_in.SignInBegun)
        async with httpx2.AsyncClient() as browser:
            there = await browser.post(begun.url, data={"sub": "f:1:somebody"})
            assert there.status_code == 302, there.text
            back = urlsplit(there.headers["location"])
            page = await browser.get(f"{server.url}{back.path}?{back.query}")
        assert page.status_code == 200, page.text
        code = page.text.split("<strong>")[1].split("</strong>")[0]
        confirm = sign_in.SignInConfirm(opened.sign_in, code, await enrol_body(server, person, ""))
        answer = await open_call(server, "POST", f"{PATH}/confirm", confirm)
        done = msgspec.json.decode(answer.content, type=sign_in.SignedIn)
        assert (done.person, done.attested) == (GP, "provider")
        device = Device(server, person)
        shown = await device.result(
            "GET", f"/v1/accounts/{done.account}/rosters?after=0", None, api.Rosters
        )
        assert shown.proof == done.proof
        assert await server.stop() == 0, server.log_text()


async def test_health_and_metrics_tell_how_the_provider_does(tmp_path: Path) -> None:
    async with running_provider() as provider:
        server = ServerProcess(
            tmp_path / "miss.sqlite", tmp_path / "log", DOMAIN, settings=provider.settings()
        )
        await server.start()
        for down in (["discovery"], []):
            await provider.control(down=down)
            answer = await open_call(server, "POST", PATH, {})
            opened = msgspec.json.decode(answer.content, type=sign_in.SignInOpened)
            person = Person(parse_address(opened.account))
            begin = {
                "sign_in": opened.sign_in,
                "method": "code",
                "genesis": msgspec.to_builtins(person.roster.genesis),
            }
            await open_call(server, "POST", f"{PATH}/begin", begin)
        health = (await open_call(server, "GET", "/health/ready")).json()
        assert "identity" in {part["part"] for part in health["parts"]}
        told = (await open_call(server, "GET", "/metrics")).text
        assert "miss_provider_failures_total 1.0" in told
        assert 'miss_sign_ins_total{outcome="proven"} 0.0' in told
        assert await server.stop() == 0


async def test_the_part_says_whether_the_last_question_was_answered() -> None:
    tally = ProviderTally()
    watch = ProviderWatch(tally)
    assert (await watch.condition()).state is State.OK
    tally.failed("no answer in time")
    assert (await watch.condition()).state is State.DEGRADED
    tally.answered()
    assert (await watch.condition()).state is State.OK


async def examined(provider: ProviderProcess, *, ahead_ms: int = 0, **more: str) -> list[str]:
    chosen = settings.ProviderSettings(
        discovery=provider.discovery,
        issuer=more.get("issuer", provider.issuer),
        client_id="us",
        secret="x",
        redirect="https://miss.example/v1/identity/callback",
        scope="openid",
        levels=(),
        ciba=True,
        seconds=2,
        ca=None,
    )
    found = await checks.examine(chosen, now_ms=now_ms() + ahead_ms)
    return [f"{one.verdict} {one.text.en}" for one in found]


async def test_doctor_asks_the_provider() -> None:
    async with running_provider() as provider:
        assert await examined(provider) == [f"ok answers as {provider.issuer}, with 1 keys"]
        [_, clock] = await examined(provider, ahead_ms=120_000)
        assert clock.startswith("bad its clock and ours differ")
        await provider.control(no_ciba=True)
        assert (await examined(provider))[1] == "warn offers no CIBA"
        [other] = await examined(provider, issuer="https://elsewhere.example")
        assert other.startswith("bad cannot be used: the discovery document is of another issuer")
        await provider.control(down=["certs"])
        assert await examined(provider) == ["bad cannot be used: status 503"]


GOOD = {
    "MISS_PROVIDER_DISCOVERY": "https://i.example/.well-known/wallet-openid-configuration",
    "MISS_PROVIDER_CLIENT_ID": "us",
    "MISS_PROVIDER_CLIENT_SECRET": "x",
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MISS_PROVIDER_DISCOVERY": "http://i.example/.well-known/x"}, "must begin with https"),
        ({"MISS_PROVIDER_DISCOVERY": "https://u@i.example/.well-known/x"}, "must begin with https"),
        ({"MISS_PROVIDER_CLIENT_ID": None}, "MISS_PROVIDER_CLIENT_ID"),
        ({"MISS_PROVIDER_CLIENT_SECRET": None}, "provider_client_secret"),
        ({"MISS_PROVIDER_DISCOVERY": "https://i.example/document"}, "set MISS_PROVIDER_ISSUER"),
        ({"MISS_PROVIDER_REDIRECT": "https://miss.example/elsewhere"}, "MISS_PROVIDER_REDIRECT"),
        ({"MISS_PROVIDER_REDIRECT": "http://miss.example/v1/identity/callback"}, "https"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], said: str
) -> None:
    for name, value in (GOOD | changed).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ProviderSettingsError, match=said):
        settings.of(Settings.model_validate({}))


def test_settings_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.of(Settings.model_validate({})) is None
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    chosen = settings.of(Settings.model_validate({}))
    assert chosen is not None
    assert (chosen.issuer, chosen.levels) == ("https://i.example", ("eidas1",))
    assert chosen.redirect == "https://localhost/v1/identity/callback"


def test_serve_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miss_server", "serve", "--database", str(tmp_path / "miss.sqlite")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment() | {"MISS_PROVIDER_DISCOVERY": "http://i.example/x"},
    )
    assert done.returncode == 1
    assert "must begin with https://" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "miss.sqlite").exists()
