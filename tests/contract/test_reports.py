"""The contract of `storage.reports`: kept once, within a day's number, shown with an entry, deleted in time."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from miss_protocol import limits
from miss_protocol.errors import Code, Refused
from miss_protocol.ids import AccountAddress
from miss_server.storage.accounts import Enrolment
from miss_server.storage.audit import operator
from miss_server.storage.reports import Filed, Outcome, Reports, Signer
from miss_server.storage.sql import reports
from tests.contract.test_accounts import code_of, enrolment
from tests.support.devices import DAY_MS, NOW, Person, address
from tests.support.mailing import Store, enrol, pair, revoke
from tests.support.reporting import TEXT, filing, written

CLAIRE = operator("claire")


class Reporting(Store, Reports):
    """What these tests are given."""

    _write: Any
    read_with: Any
    add_recovery_code: Any
    begin_recovery: Any
    complete_recoveries: Any


@pytest.fixture(name="it")
def _it(store: Any) -> Reporting:
    given: Reporting = store
    return given


async def somebody(it: Reporting) -> Person:
    person = Person()
    await enrol(it, person)
    return person


async def reporter_of(it: Reporting) -> AccountAddress:
    return await it.create(None, "Dr Fictif", address(), now_ms=NOW)


async def closed(it: Reporting, filed: Filed, outcome: Outcome, now_ms: int = NOW) -> Filed:
    return await it.close_report(
        filed.id, outcome, delete_ms=now_ms + DAY_MS, actor=CLAIRE, now_ms=now_ms
    )


async def test_a_message_is_one_report_however_often_it_is_shown(it: Reporting) -> None:
    by, reporter, other = await somebody(it), await reporter_of(it), await reporter_of(it)
    given = filing(by, reporter)
    filed = await it.file_report(given, now_ms=NOW)
    assert (filed.id, filed.reporter, filed.account) == (given.id, reporter, by.account)
    assert (filed.message, filed.device) == (given.message, by.device.certificate.device)
    assert (filed.filed_ms, filed.seen_ms, filed.closed_ms, filed.outcome) == (
        NOW,
        None,
        None,
        None,
    )
    again = replace(given, id="0f" * 8, reason="abuse", note="", received_ms=NOW)
    assert await it.file_report(again, now_ms=NOW + 5) == filed
    assert await it.reports_by(reporter, before=None, limit=9) == [filed]
    theirs = await it.file_report(replace(again, reporter=other), now_ms=NOW + 5)
    assert theirs.id == again.id
    assert await it.reports() == [filed, theirs]
    assert [one.action for one in await it.audit_entries()].count("report_filed") == 2


async def test_a_days_number_is_the_accounts_and_comes_back(it: Reporting) -> None:
    by, reporter, other = await somebody(it), await reporter_of(it), await reporter_of(it)
    first = filing(by, reporter)
    await it.file_report(first, now_ms=NOW)
    more = [filing(by, reporter) for _ in range(limits.REPORTS_PER_DAY + 3)]
    outcomes = await asyncio.gather(
        *(it.file_report(one, now_ms=NOW + 1) for one in more), return_exceptions=True
    )
    assert sum(isinstance(one, Filed) for one in outcomes) == limits.REPORTS_PER_DAY - 1
    refused = [one for one in outcomes if isinstance(one, Refused)]
    assert {one.code for one in refused} == {Code.RATE_LIMITED}
    assert {one.retry_after for one in refused} == {(DAY_MS - 1) / 1000}
    assert (
        await it.file_report(first, now_ms=NOW + 2)
    ).id == first.id  # repeated, it costs nothing
    await it.file_report(filing(by, other), now_ms=NOW + 2)
    await it.file_report(filing(by, reporter), now_ms=NOW + DAY_MS)
    late = it.file_report(filing(by, reporter), now_ms=NOW + DAY_MS)
    assert await code_of(late) is Code.RATE_LIMITED


async def test_a_signer_is_who_a_roster_lists_or_listed(it: Reporting) -> None:
    by, other = await somebody(it), await somebody(it)
    tablet = by.add_device()
    await it.change_roster(by.roster, now_ms=NOW)
    account, device = by.account, tablet.certificate.device
    assert await it.signer(account, device) == Signer(tablet.certificate, None)
    revoke(by, device)
    await it.change_roster(by.roster, now_ms=NOW + 7)
    assert await it.signer(account, device) == Signer(tablet.certificate, NOW + 7)
    phone = by.device.certificate
    assert await it.signer(account, phone.device) == Signer(phone, None)
    assert await it.signer(account, other.device.certificate.device) is None
    unlisted = by.make_device()
    assert await it.signer(account, unlisted.certificate.device) is None
    assert await code_of(it.signer(address(), phone.device)) is Code.UNKNOWN_ACCOUNT


async def test_a_signer_before_a_recovery_is_still_found(it: Reporting) -> None:
    old = await somebody(it)
    await it.add_recovery_code(old.account, "RECOVERY", expires_ms=NOW + 1000, now_ms=NOW)
    new = Person(old.account)
    given: Enrolment = enrolment(new, "RECOVERY")
    await it.begin_recovery(given, delay_ms=0, now_ms=NOW)
    await it.complete_recoveries(now_ms=NOW + 1)
    phone = old.device.certificate
    assert await it.signer(old.account, phone.device) == Signer(phone, NOW + 1)
    fresh = new.device.certificate
    assert await it.signer(old.account, fresh.device) == Signer(fresh, None)


async def test_what_the_server_knows_of_the_send_is_kept_with_it(it: Reporting) -> None:
    gp, nurse = await pair(it)
    device = gp.person.device
    sent, refused = gp.send(nurse.person), gp.send(nurse.person, wraps=())
    for send in (sent, refused):
        await gp.submit(send)
    taken = {}
    for send in (sent, refused, gp.send(nurse.person)):
        message = written(device, nurse.person, id=send.id)
        given = filing(gp.person, nurse.person.account, message=message.id, signed=message.encode())
        filed = await it.file_report(given, now_ms=NOW + 1)
        taken[send.id] = (await it.show_report(filed.id, actor=CLAIRE, now_ms=NOW)).taken_ms
    assert list(taken.values()) == [NOW, None, None]


async def test_an_operator_is_shown_it_and_closes_it_and_the_log_says_who(it: Reporting) -> None:
    by, reporter = await somebody(it), await reporter_of(it)
    given = filing(by, reporter)
    filed = await it.file_report(given, now_ms=NOW)
    second = await it.file_report(filing(by, reporter), now_ms=NOW + 1)
    evidence = await it.show_report(filed.id, actor=CLAIRE, now_ms=NOW + 5)
    assert evidence.filed == filed
    assert (evidence.signed, evidence.note) == (given.signed, given.note)
    assert evidence.certificate == by.device.certificate.encode()
    assert (evidence.account_name, evidence.reporter_name) == ("Dr Fictif", "Dr Fictif")
    assert (evidence.others, evidence.revoked_ms, evidence.person) == (1, None, None)
    assert TEXT not in repr(evidence)
    await it.show_report(filed.id, actor=CLAIRE, now_ms=NOW + 6)
    done = await closed(it, filed, Outcome.WARNED, NOW + 7)
    assert (done.seen_ms, done.closed_ms, done.outcome) == (NOW + 5, NOW + 7, Outcome.WARNED)
    assert await closed(it, filed, Outcome.WARNED, NOW + 9) == done
    assert await code_of(closed(it, filed, Outcome.NONE)) is Code.OUT_OF_PLACE
    assert await it.reports() == [second]
    assert await it.reports(closed=True) == [done]
    assert await it.reports_by(reporter, before=None, limit=9) == [second, done]
    entries = await it.audit_entries(subject=by.account)
    told = [(one.actor, one.action, json.loads(one.detail)) for one in entries]
    number = {"report": filed.id}
    assert told[1:] == [
        (f"account:{reporter}", "report_filed", number),
        (f"account:{reporter}", "report_filed", {"report": second.id}),
        (CLAIRE, "report_shown", number),
        (CLAIRE, "report_shown", number),
        (CLAIRE, "report_closed", number | {"outcome": "warned"}),
    ]
    nobody = "00" * 8
    assert await code_of(it.show_report(nobody, actor=CLAIRE, now_ms=NOW)) is Code.NOT_FOUND
    absent = it.close_report(nobody, Outcome.NONE, delete_ms=NOW, actor=CLAIRE, now_ms=NOW)
    assert await code_of(absent) is Code.NOT_FOUND


async def test_a_number_is_found_by_its_beginning(it: Reporting) -> None:
    by, reporter = await somebody(it), await reporter_of(it)
    for id in ("aa" * 8, "ab" * 8, "b" * 16):
        await it.file_report(filing(by, reporter, id=id), now_ms=NOW)
    assert list(await it.report_ids("aa")) == ["aa" * 8]
    assert list(await it.report_ids("a")) == ["aa" * 8, "ab" * 8]
    assert list(await it.report_ids("c")) == []


async def test_a_page_goes_on_where_the_one_before_ended(it: Reporting) -> None:
    by, reporter = await somebody(it), await reporter_of(it)
    made = [await it.file_report(filing(by, reporter), now_ms=NOW + at // 2) for at in range(5)]
    newest = sorted(made, key=lambda one: (one.filed_ms, one.id), reverse=True)
    found: list[Filed] = []
    before = None
    while page := await it.reports_by(reporter, before=before, limit=2):
        found += page
        before = (page[-1].filed_ms, page[-1].id)
    assert found == newest


async def test_a_closed_report_goes_when_its_time_is_over_and_an_open_one_stays(
    it: Reporting,
) -> None:
    by, reporter = await somebody(it), await reporter_of(it)
    given = filing(by, reporter)
    filed = await it.file_report(given, now_ms=NOW)
    waiting = await it.file_report(filing(by, reporter), now_ms=NOW + 2)
    assert await it.read_with(reports.sums) == (2, NOW)
    await closed(it, filed, Outcome.NONE)
    assert await it.read_with(reports.sums) == (1, NOW + 2)
    await it.clean(now_ms=NOW + DAY_MS - 1)
    assert len(await it.reports(closed=True)) == 1
    assert await it.clean(now_ms=NOW + DAY_MS)
    assert await it.reports(closed=True) == []
    assert await it.reports_by(reporter, before=None, limit=9) == [waiting]
    assert await it.report_ids(filed.id) == []
