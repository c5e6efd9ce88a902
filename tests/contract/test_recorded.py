"""The contract of what every engine writes into the audit log, and of what never stands there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from miss_server.storage.audit import SERVER, account, operator
from tests.contract.test_attestations import AIDE, FILES, PEOPLE, attest
from tests.contract.test_departures import DR, GRACE, OTHER, enrolled, entry, sweep
from tests.contract.test_recoveries import DUE, begin, complete, lost
from tests.support.devices import NOW, address
from tests.support.in_force import Store, put_in_force, source

CLAIRE = operator("claire")
BEFORE = ("code_made", "account_suspended")
"""What comes along, and has tests of its own."""

Recorded = tuple[str, str, str, Mapping[str, Any]]


async def recorded(store: Store) -> Sequence[Recorded]:
    """Actor, action, subject and detail of every entry."""
    return [
        (one.actor, one.action, one.subject, json.loads(one.detail))
        for one in await store.audit_entries()
        if one.action not in BEFORE
    ]


async def test_attestations_are_recorded_once_each(store: Store) -> None:
    doctor = await enrolled(store, DR)
    await put_in_force(store, PEOPLE, FILES)
    await attest(store, doctor)
    await attest(store, doctor)
    await store.withdraw_attestation(doctor.account, AIDE, now_ms=NOW)
    await attest(store, doctor)
    by = account(doctor.account)
    actions = [action for _, action, _, _ in await recorded(store)]
    assert actions == ["attestation_made", "attestation_ended", "attestation_made"]
    assert {one[::2] for one in await recorded(store)} == {(by, AIDE)}


async def test_departures_are_recorded_with_their_cause(store: Store) -> None:
    person = await enrolled(store, DR)
    for there in (OTHER, DR):
        await put_in_force(store, [entry(there)])
        await sweep(store, NOW)
        await sweep(store, NOW)
    left = {"cause": "left"}
    begun = (SERVER, "departure_begun", person.account, left)
    ended = (SERVER, "departure_ended", person.account, left)
    assert await recorded(store) == [begun, ended]
    await put_in_force(store, [entry(OTHER)])
    await sweep(store, NOW)
    for there in (OTHER, DR):
        await put_in_force(store, [entry(there)], [source("RPPS", date_ms=NOW + GRACE)])
        await sweep(store, NOW + GRACE)
    lifted = (SERVER, "account_reinstated", person.account, left)
    assert await recorded(store) == [begun, ended, begun, ended, lifted]


async def test_recoveries_are_recorded_from_their_code_to_their_end(store: Store) -> None:
    old = await lost(store)
    code = {"expires_ms": NOW + 1000}
    made = (SERVER, "recovery_code_made", old.account, code)

    async def asked(code: str) -> tuple[Recorded, dict[str, str]]:
        new, given = await begin(store, old, code)
        await store.begin_recovery(given, delay_ms=1, now_ms=NOW)  # asks how it stands
        device = {"device": new.device.certificate.device.hex()}
        return (SERVER, "recovery_begun", old.account, {**device, "due_ms": DUE}), device

    first, one = await asked("FIRST")
    await store.veto_recovery(old.account, old.device.certificate.device, now_ms=NOW)
    second, two = await asked("SECOND")
    await store.veto_recovery(old.account, None, now_ms=NOW, actor=CLAIRE)
    third, three = await asked("THIRD")
    assert await complete(store)
    assert await recorded(store) == [
        *(made, first, (account(old.account), "recovery_stopped", old.account, one)),
        *(made, second, (CLAIRE, "recovery_stopped", old.account, two)),
        *(made, third, (SERVER, "recovery_done", old.account, three)),
    ]


async def test_budgets_are_recorded_when_they_change(store: Store) -> None:
    own = await store.create(None, "Dr Fictif", address(), now_ms=NOW)
    for budget in ((3, 9), (3, 9), None, None):
        await store.set_budget(own, budget, now_ms=NOW, actor=CLAIRE)
    assert await recorded(store) == [
        (CLAIRE, "budget_set", own, {"per_hour": 3, "per_day": 9}),
        (CLAIRE, "budget_set", own, {}),
    ]


async def test_of_invitations_only_what_the_operator_does_is_recorded(store: Store) -> None:
    own = await store.create(None, "Dr Fictif", address(), now_ms=NOW)
    await store.invite_person(own, DR, now_ms=NOW)
    for _ in range(2):
        await store.hand_over(DR, now_ms=NOW, actor=CLAIRE)
    for _ in range(2):
        await store.take_back(DR, [own], now_ms=NOW, actor=CLAIRE)
    await store.refuse_invitations(OTHER, now_ms=NOW, actor=CLAIRE)
    for _ in range(2):
        await store.allow_invitations(OTHER, now_ms=NOW, actor=CLAIRE)
    *letters, refused, allowed = await recorded(store)
    assert letters == [
        (CLAIRE, "invitation_sent", DR, {}),
        (CLAIRE, "invitation_not_sent", DR, {}),
    ]
    # Who asked to be left alone is nowhere by name.
    assert refused[:3] == (CLAIRE, "invitations_refused", "")
    assert allowed == (CLAIRE, "invitations_allowed", "", refused[3])
    assert set(refused[3]) == {"person_hash"}
    assert OTHER not in refused[3]["person_hash"]
