"""Reports over HTTP: a message that its reader shows is taken if it is what it seems, else refused."""

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from miss_protocol import content as contents
from miss_protocol import limits
from miss_protocol.content import Text
from miss_protocol.ids import new_address
from miss_protocol.reports import Report, ReportMade, ReportsPage
from miss_server.http import throttle
from miss_server.storage.reports import Outcome
from tests.support.devices import DAY_MS
from tests.support.hosted import hosted
from tests.support.mailing import revoke
from tests.support.reporting import TEXT, made, written
from tests.support.server import ServerProcess
from tests.support.signing import Signing
from tests.support.wire import Device, beside, code_of, enrolled, further, now_ms, publish

NOTE = "Troisième fois, à 3 h du matin."


async def file(device: Device, body: object) -> httpx2.Response:
    return await device.call("POST", "/v1/reports", body)


async def listed(device: Device, cursor: str = "") -> ReportsPage:
    path = "/v1/reports" + (f"?cursor={cursor}" if cursor else "")
    return await device.result("GET", path, None, ReportsPage)


async def two(server: ServerProcess) -> tuple[Device, Device]:
    return await enrolled(server), await enrolled(server)


async def test_a_message_is_shown_and_its_reporter_sees_when_it_is_closed(
    standing: ServerProcess,
) -> None:
    doctor, nurse = await two(standing)
    message = written(doctor.person.device, doctor.person, nurse.person)
    body = made(message, doctor.person.device, now_ms(), note=NOTE)
    report = await nurse.result("POST", "/v1/reports", body, Report)
    assert (report.message, report.account, report.device) == (
        message.id,
        doctor.person.account,
        doctor.id,
    )
    assert (report.reason, report.state, report.closed) == ("unsolicited", "open", None)
    tablet = await further(nurse)
    assert await tablet.result("POST", "/v1/reports", body, Report) == report
    assert await listed(tablet) == ReportsPage((report,), None)
    assert await listed(doctor) == ReportsPage((), None)
    async with beside(standing) as store:
        [filed] = [one for one in await store.reports() if one.reporter == nurse.person.account]
        await store.close_report(
            filed.id,
            Outcome.SUSPENDED,
            delete_ms=now_ms() + DAY_MS,
            actor="server",
            now_ms=now_ms(),
        )
    [known] = (await listed(nurse)).reports
    assert (known.state, known.filed) == ("closed", report.filed)
    assert known.closed
    assert "suspended" not in repr(known)
    for secret in (TEXT, NOTE):
        assert secret not in standing.log_text()


async def test_a_forgery_is_refused(standing: ServerProcess) -> None:
    doctor, nurse = await two(standing)
    tablet, stranger = await further(doctor), await enrolled(standing)
    author, other = doctor.person.device, tablet.person.devices[1]
    now, people = now_ms(), (doctor.person, nurse.person)
    good = written(author, *people)
    nobody = new_address(b"nobody is at it!", standing.domain)
    for why, body, code in (
        ("altered text", made(replace(good, content=contents.encode(Text(text="non"))), author, now),
         "untrusted"),
        ("the other device named", made(good, other, now), "untrusted"),
        ("a certificate that is not the listed one",
         made(replace(good, sender=other.certificate.id), author, now), "untrusted"),
        ("signed by another key",
         made(replace(written(stranger.person.device, *people), sender=good.sender), author, now),
         "untrusted"),
        ("a device of another account", made(good, stranger.person.device, now), "untrusted"),
        ("a device that no roster lists",
         made(written(doctor.person.make_device(), *people), doctor.person.make_device(), now),
         "untrusted"),
        ("an account that is not here", made(good, author, now, account=nobody), "unknown_account"),
        ("not an account", made(good, author, now, account="A" * 40), "malformed"),
        ("for others", made(written(author, doctor.person, stranger.person), author, now),
         "not_reportable"),
        ("too old", made(good, author, now - limits.REPORT_AGE_MAX * 1000 - 60_000),
         "report_too_old"),
        ("yet to come", made(good, author, now + DAY_MS), "malformed"),
        ("no message", made(good, author, now, message=b"\0"), "malformed"),
        ("too many bytes", made(good, author, now, message=bytes(limits.BODY_MAX + 1)), "malformed"),
        ("control characters", made(good, author, now, note="\0"), "malformed"),
        ("no reason", made(good, author, now, reason="dislike"), "malformed"),
        ("nothing", b"{}", "malformed"),
    ):  # fmt: skip
        assert code_of(await file(nurse, body)) == code, why
    own = made(written(nurse.person.device, *people), nurse.person.device, now)
    assert code_of(await file(nurse, own)) == "not_reportable"
    assert await listed(nurse) == ReportsPage((), None)
    assert (await file(nurse, made(good, author, now))).is_success


async def test_a_removed_devices_message_counts_if_it_can_have_waited(tmp_path: Path) -> None:
    async with hosted(tmp_path) as server:
        doctor, nurse = await enrolled(server), await enrolled(server)
        tablet = await further(doctor)
        author = doctor.person.devices[1]
        messages = [written(author, nurse.person) for _ in range(3)]
        before = now_ms()
        revoke(doctor.person, tablet.id)
        await publish(doctor)
        assert (await file(nurse, made(messages[0], author, before))).is_success
        server.clock.ahead = limits.TTL_MAX + 2 * limits.CLOCK_SKEW_MAX
        late = server.clock.now_ms()

        async def then(body: ReportMade) -> httpx2.Response:
            signing = Signing(created_s=late // 1000)
            return await nurse.call("POST", "/v1/reports", body, signing=signing)

        # It came in time, and is shown much later. What came later is the word of who has the tablet.
        assert (await then(made(messages[1], author, before))).is_success
        assert code_of(await then(made(messages[2], author, late))) == "untrusted"


async def test_a_days_reports_are_listed_by_pages_and_no_more_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_MAX", 2)
    monkeypatch.setattr(limits, "REPORTS_PER_DAY", 3)
    async with hosted(tmp_path) as server:
        doctor, nurse = await enrolled(server), await enrolled(server)
        author = doctor.person.device
        bodies = [made(written(author, nurse.person), author, now_ms()) for _ in range(4)]
        for body in bodies[:3]:
            assert (await file(nurse, body)).is_success
        first = await listed(nurse)
        assert first.next is not None
        second = await listed(nurse, first.next)
        assert second.next is None
        assert [len(one.reports) for one in (first, second)] == [2, 1]
        assert len({one.message for page in (first, second) for one in page.reports}) == 3
        for wrong in ("x", "%20", "A" * 300, "bm90IGEgcGxhY2U"):
            assert code_of(await nurse.call("GET", f"/v1/reports?cursor={wrong}")) == "malformed"
        refused = await file(nurse, bodies[3])
        assert (refused.status_code, code_of(refused)) == (429, "rate_limited")
        assert 86_000 < float(refused.headers["retry-after"]) <= 86_400
        assert (await file(nurse, bodies[0])).is_success


async def test_tries_are_counted_though_they_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "REPORT_TRIES_PER_HOUR", 2)
    async with hosted(tmp_path) as server:
        doctor, nurse = await enrolled(server), await enrolled(server)
        for code in ("malformed", "malformed", "rate_limited"):
            assert code_of(await file(nurse, b"{}")) == code
        assert code_of(await file(doctor, b"{}")) == "malformed"
