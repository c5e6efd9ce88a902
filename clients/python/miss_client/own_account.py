"""What this account may be told about itself, and do about itself. Spec: 11-accounts §3."""

from miss_client.calls import Calls, Nothing
from miss_client.errors import RefusedByServer
from miss_protocol.account import AccountNotice, AccountNotices, Attest, Attestations, RecoveryState
from miss_protocol.errors import Code
from miss_protocol.sign_in import ProofHeld


async def told(calls: Calls) -> AccountNotices | None:
    """All that this account is told about itself; None by an older server. Raises as any call."""
    try:
        return await calls.get("/v1/account/notices", AccountNotices)
    except RefusedByServer as refused:
        if refused.code is Code.NOT_FOUND:
            return None
        raise


async def proof_due(calls: Calls) -> ProofHeld | None:
    """What vouches for this account, if its user is to prove who they are anew by now. Raises as any call."""
    try:
        held = await calls.get("/v1/identity", ProofHeld)
    except RefusedByServer as refused:
        if refused.code in (Code.NOT_FOUND, Code.BUSY):
            return None  # an older server, or one that is being upgraded
        raise
    return held if held.due else None


async def notices(calls: Calls) -> tuple[AccountNotice, ...]:
    """What will end this account unless something is done. Raises as any call."""
    found = await told(calls)
    return () if found is None else found.notices


async def attest(calls: Calls, person: str) -> Attestations:
    """Vouch for a person without a national number, who keeps access for as long as somebody does.

    Raises:
        RefusedByServer: not_allowed, not_found, limit_reached.
    """
    return await calls.post("/v1/attestations", Attest(person), Attestations)


async def withdraw(calls: Calls, person: str) -> Attestations:
    """Vouch no more; if nobody else does, the person is told and suspended after a grace."""
    return await calls.post("/v1/attestations/withdraw", Attest(person), Attestations)


async def attestations(calls: Calls) -> Attestations:
    """For whom this account vouches, the latest first."""
    return await calls.get("/v1/attestations", Attestations)


async def veto_recovery(calls: Calls) -> RecoveryState:
    """Object to a recovery of this account: its owner still has this device.

    Raises:
        RefusedByServer: not_found, none waits.
    """
    return await calls.post("/v1/recoveries/veto", Nothing(), RecoveryState)
