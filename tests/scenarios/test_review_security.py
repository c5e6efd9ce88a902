"""Adversaries, each played against the real server: what they try, and what must stay true."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import structlog
from nacl.signing import SigningKey
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from miss_protocol import client_session as session
from miss_protocol import frames as f
from miss_protocol.errors import CloseCode
from miss_server.cli.stores import with_store
from miss_server.config import Settings
from miss_server.http import bodies, throttle
from miss_server.http.enrolment import peer_address
from miss_server.storage.sqlite.engine import open_engine
from miss_server.storage.sqlite.store import prepare
from tests.support.devices import Person
from tests.support.hosted import Hosted, hosted
from tests.support.signing import Signing
from tests.support.wire import code_of, enrol_body, enrolled, new_account, open_call

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A server of the test's own process."""
    async with hosted(tmp_path) as server:
        yield server


# --- a malicious enrolled device: forcing epochs ---------------------------------------------------


async def test_a_device_cannot_make_up_an_epoch(inside: Hosted) -> None:
    """One hello with an invented epoch would void everybody's prekeys and hold all sends."""
    gp, mallory = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        before = await inside.services.messages.epoch()
        async with mallory.online() as rogue:
            await rogue.caught_up()
        async with mallory.line() as rogue:
            await rogue.greet(epoch=os.urandom(16))
            assert (await rogue.next(session.Welcomed)).welcome.epoch == before
        assert await inside.services.messages.epoch() == before
        await line.ping()  # nobody else was thrown out
        claimed = await inside.services.accounts.claim_prekeys([gp.id], now_ms=0)
        assert gp.id in claimed


async def test_a_device_that_lies_about_its_digest_disturbs_others_once_at_most(
    inside: Hosted,
) -> None:
    """Only a device can tell that its server went back, and a liar tells the same. So one account
    is believed once a day; a second real restore is told by the others."""
    gp, mallory = await enrolled(inside), await enrolled(inside)
    async with mallory.line() as rogue:
        mallory.position, mallory.digest = 0, b"\x07" * 32
        rogue.session.digest = mallory.digest
        assert (await rogue.log_in()).restored
    first = await inside.services.messages.epoch()
    async with gp.online() as line:
        for _ in range(3):
            async with mallory.line() as rogue:
                rogue.session.digest = mallory.digest
                welcome = await rogue.log_in()
                assert welcome.restored  # it alone starts from what the server has
        assert await inside.services.messages.epoch() == first
        await line.ping()
    # Another account is still heard.
    async with gp.line() as line:
        gp.digest = line.session.digest = b"\x08" * 32
        await line.log_in()
    assert await inside.services.messages.epoch() != first


async def test_a_welcome_that_was_lost_after_a_restore_is_no_second_restore(inside: Hosted) -> None:
    """The server noted the new epoch for the device, the device never heard of it."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    for device in (gp, nurse):
        async with device.online() as line:
            await line.caught_up()
    old = gp.epoch
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    changed = await inside.services.messages.epoch()
    for _ in range(2):
        gp.epoch = old
        async with gp.online():
            assert gp.epoch == changed
    assert await inside.services.messages.epoch() == changed


async def test_a_copy_from_before_an_epoch_change_is_still_found_out(inside: Hosted) -> None:
    """A thief's, or a backup's, older state of a device must not send under used numbers."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        await line.caught_up()
    old = gp.epoch
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    nurse.digest = bytes(32)
    async with gp.online() as line:
        await line.settle(gp.send(nurse.person))
    async with gp.line() as line:
        await line.greet(epoch=old, sn=0)
        assert await line.closed() == CloseCode.ROLLED_BACK


async def test_a_lower_count_after_a_restore_is_found_out_too(inside: Hosted) -> None:
    """Else one device could make every batch that its sends are in fail, and be settled apart; and
    a copy of an older state would send under used keys. No device ever takes a number back."""
    gp, nurse = await enrolled(inside), await enrolled(inside)
    async with gp.online() as line:
        assert isinstance(await line.settle(gp.send(nurse.person)), f.Sent)
    async with nurse.line() as line:
        nurse.digest = line.session.digest = b"\x07" * 32
        await line.log_in()
    gp.sn = 0
    async with gp.line() as line:
        await line.greet()
        assert await line.closed() == CloseCode.ROLLED_BACK


# --- an outsider -----------------------------------------------------------------------------------


async def test_who_has_no_key_learns_nothing_of_a_device_by_a_wrong_time(inside: Hosted) -> None:
    """`clock_skew` is for the holder of the key; a stranger must not test ids by it."""
    device = await enrolled(inside)
    stranger = Signing(key=SigningKey(b"k" * 32), created_s=1)
    assert code_of(await device.call("GET", "/v1/prekeys", signing=stranger)) == "auth_failed"
    unknown = Signing(key=SigningKey(b"k" * 32), created_s=1, key_id="5f" * 16)
    assert code_of(await device.call("GET", "/v1/prekeys", signing=unknown)) == "auth_failed"
    own = Signing(created_s=1)
    assert code_of(await device.call("GET", "/v1/prekeys", signing=own)) == "clock_skew"


async def test_an_unknown_code_buys_no_checking_of_signatures(tmp_path: Path) -> None:
    """Enrolments with sound signatures and a wrong end were checked again and again for nothing:
    they failed before they were counted as guesses."""
    async with hosted(tmp_path, enrolment_tries_per_hour=3) as server:
        person = Person((await new_account(server))[0])
        body = await enrol_body(server, person, "ABCDEFGHJKMN")
        endless = msgspec.structs.replace(body, prekeys=body.prekeys[:1])  # no last resort
        codes = [
            code_of(await open_call(server, "POST", "/v1/enrolment", endless)) for _ in range(4)
        ]
        assert codes == ["code_unknown"] * 3 + ["rate_limited"]


async def test_codes_guessed_all_at_once_are_no_more_than_those_guessed_in_turn(
    tmp_path: Path,
) -> None:
    """Each was looked up before any was counted, so that an address could guess as many an hour as it
    sent at once."""
    async with hosted(tmp_path, enrolment_tries_per_hour=3) as server:
        right = (await new_account(server))[1]

        async def tell(code: str) -> str:
            answer = await open_call(server, "POST", "/v1/enrolment/preview", {"code": code})
            return "found" if answer.status_code == 200 else code_of(answer)

        # Right ones take no room, neither before nor after the address has used up its own.
        assert [await tell(right) for _ in range(5)] == ["found"] * 5
        told = Counter(await asyncio.gather(*(tell(f"ABCDEFGHJK{n:02}") for n in range(30))))
        assert told == {"code_unknown": 3, "rate_limited": 27}
        assert await tell(right) == "found"


async def test_a_minute_of_searches_is_not_had_in_a_moment(inside: Hosted) -> None:
    """120 searches in a second kept the processor from everybody's messages; looking at one entry is no
    search."""
    device = await enrolled(inside)
    answers = [await device.call("GET", "/v1/directory?q=abc") for _ in range(60)]
    found = [answer for answer in answers if answer.status_code == 200]
    # The window slides: on a slow machine some more fit.
    assert throttle.SEARCHES_AT_ONCE <= len(found) <= 2 * throttle.SEARCHES_AT_ONCE
    assert {code_of(one) for one in answers if one not in found} == {"rate_limited"}
    assert code_of(await device.call("GET", "/v1/directory/810000000001")) == "not_found"


async def test_all_of_ipv4_is_not_one_neighbour_on_a_socket_for_both(tmp_path: Path) -> None:
    """`::ffff:a.b.c.d` of a dual-stack socket: one guesser must not lock everybody out."""

    def seen_as(host: str) -> str:
        return peer_address(Request({"type": "http", "client": (host, 1), "headers": []}))

    assert seen_as("::ffff:192.0.2.7") == seen_as("192.0.2.7") != seen_as("::ffff:192.0.2.8")
    assert seen_as("2001:db8:1:2::7") == seen_as("2001:db8:1:2::8") != seen_as("2001:db8:1:3::8")


async def test_a_body_that_never_ends_is_given_up(
    inside: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_PATIENCE", 0.3)
    host, port = inside.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/enrolment HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{")
    async with asyncio.timeout(10):
        answer = await reader.read(4096)
    assert answer.startswith(b"HTTP/1.1 408") or b'"malformed"' in answer
    writer.close()


# --- a malicious enrolled device -------------------------------------------------------------------


async def test_looking_people_up_one_by_one_is_limited_like_searching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "SEARCHES_PER_MINUTE", 4)
    async with hosted(tmp_path) as inside:
        device = await enrolled(inside)
        codes = [
            code_of(await device.call("GET", f"/v1/directory/8{number:011}"))
            for number in range(12)
        ]
    assert set(codes) == {"not_found", "rate_limited"}
    assert codes[:4] == ["not_found"] * 4


# --- a thief with the server's files; whoever reads logs --------------------------------------------


def test_the_database_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the file and closing it to others its secret was already inside."""
    modes: list[int] = []
    monkeypatch.setattr(os, "chmod", lambda path, _: modes.append(path.stat().st_mode & 0o777))
    before = os.umask(0)
    try:
        prepare(tmp_path / "miss.sqlite", domain="miss.example", now_ms=1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    assert all(mode & 0o077 == 0 for mode in modes)


def test_operators_commands_log_no_variables(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The logging library's own default prints tracebacks with every local variable."""
    settings = Settings.model_validate(
        {"database": tmp_path / "m.sqlite", "domain": "miss.example"}
    )
    prepare(settings.file, domain=settings.domain, now_ms=1)

    async def work(_: object) -> None:
        code = "secret etco".upper().replace(" ", "-")  # noqa: F841  # what must not be shown
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            structlog.get_logger().exception("failed")

    with_store(settings, work)
    told = capfd.readouterr()
    assert told.out == ""
    assert "broken" in told.err
    assert "SECRET-ETCO" not in told.err


def test_a_database_error_tells_no_values(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    prepare(path, domain="miss.example", now_ms=1)
    with open_engine(path).connect() as db, pytest.raises(SQLAlchemyError) as told:
        db.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": "Mme Secrète"})
    assert "Secrète" not in str(told.value)
