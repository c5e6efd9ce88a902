"""What is limited by device: logins and signed calls that hold, and nobody else's."""

from pathlib import Path

import pytest

from miss_protocol.account import Attest
from miss_protocol.errors import CloseCode
from miss_protocol.invitations import PersonNamed
from miss_server.http import throttle
from tests.support.hosted import hosted
from tests.support.signing import Signing
from tests.support.wire import code_of, enrolled, further


async def test_a_device_that_logs_in_too_often_is_turned_away_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "LOGINS_PER_MINUTE", 3)
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        for _ in range(5):  # somebody else with its id does not lock it out
            async with gp.line() as line:
                await line.greet(signature=bytes(64))
                assert await line.closed() == CloseCode.AUTH
        for _ in range(3):
            async with gp.online():
                pass
        async with gp.line() as line:
            await line.greet()
            assert await line.closed() == CloseCode.RATE
            assert (await line.error()).code == "rate_limited"
        async with nurse.online() as line:
            await line.ping()


async def test_a_device_that_calls_too_often_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "CALLS_PER_MINUTE", 3)
    async with hosted(tmp_path) as server:
        gp, nurse = await enrolled(server), await enrolled(server)
        for _ in range(3):
            assert (await gp.call("GET", "/v1/prekeys")).is_success
        refused = await gp.call("GET", "/v1/prekeys")
        assert code_of(refused) == "rate_limited"
        assert int(refused.headers["retry-after"]) > 0
        assert (await nurse.call("GET", "/v1/prekeys")).is_success


async def test_who_guesses_signatures_must_connect_anew_for_each(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        gp = await enrolled(server)
        assert "connection" not in (await gp.call("GET", "/v1/prekeys")).headers
        other = await enrolled(server)
        guessed = await gp.call("GET", "/v1/prekeys", signing=Signing(key=other.key))
        assert code_of(guessed) == "auth_failed"
        assert guessed.headers["connection"] == "close"


async def test_an_account_copies_no_directory_in_a_day_whichever_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches, looks at one entry and whatever tells of one, all together; the minute is not the day."""
    monkeypatch.setattr(throttle, "SEARCHES_PER_DAY", 6)
    async with hosted(tmp_path) as server:
        phone, other = await enrolled(server), await enrolled(server)
        tablet = await further(phone)
        for device in (phone, tablet):
            assert (await device.call("GET", "/v1/directory?q=anne")).is_success
            assert code_of(await device.call("GET", "/v1/directory/810000000017")) == "not_found"
            wish = await device.call("POST", "/v1/wishes", PersonNamed("810000000017"))
            assert code_of(wish) == "not_found"
        for device in (phone, tablet):
            for method, path, body in (
                ("GET", "/v1/directory?q=anne", None),
                ("GET", "/v1/directory/810000000017", None),
                ("POST", "/v1/wishes", PersonNamed("810000000017")),
                ("POST", "/v1/attestations", Attest("810000000017")),
            ):
                refused = await device.call(method, path, body)
                assert code_of(refused) == "rate_limited"
                assert refused.headers["retry-after"] == "3600"
            assert (await device.call("GET", "/v1/prekeys")).is_success
        assert (await other.call("GET", "/v1/directory?q=anne")).is_success
