"""What became of one's own messages, from what the server and the recipients' devices say.

`delivered` and `read` are shown only with a receipt that the recipient's device signed; the other
states are the server's word (rule D4). An account has a message when one of its devices has it.
"""

from miss_client.contacts import Contacts
from miss_client.records import DeviceOutcome, Message, Outcome, State
from miss_protocol import frames as f
from miss_protocol.errors import Untrusted
from miss_protocol.identity.receipts import Receipt, ReceiptState, verify_receipt
from miss_protocol.ids import DeviceId, MessageId

_STRENGTH: dict[DeviceOutcome, int] = {
    "waiting": 0,
    "undecryptable": 1,
    "expired": 1,
    "refused": 1,
    "revoked": 1,
    "delivered": 2,
    "read": 3,
}


def advance(outcome: Outcome, state: DeviceOutcome, at_ms: int) -> bool:
    """Take the news if it is stronger than what was known; a signed word beats the server's."""
    if _STRENGTH[state] <= _STRENGTH[outcome.state]:
        return False
    outcome.state, outcome.at_ms = state, at_ms
    return True


def receipt_holds(
    state: f.DeviceState, outcome: Outcome, wire: MessageId, own: DeviceId, contacts: Contacts
) -> bool:
    """Whether the recipient's device really signed what the server passes on."""
    certificate = contacts.certificate(outcome.account, state.device)
    if certificate is None or len(state.signature) != 64:
        return False
    receipt = Receipt(
        message=wire,
        sender_device=own,
        recipient_device=DeviceId(state.device),
        state=ReceiptState(state.state),
        at_ms=state.at,
        signature=state.signature,
    )
    try:
        verify_receipt(receipt, certificate)
    except Untrusted:
        return False
    return True


def overall(message: Message) -> tuple[State, str]:
    """A message's state for the user, and why it failed: of the recipient that is worst off."""
    states = [_of_account(message, account) for account in message.to]
    failed = [reason for state, reason in states if state == "failed"]
    if failed:
        return "failed", failed[0]
    reached = {state for state, _ in states}
    if "sent" in reached:
        return "sent", ""
    return ("delivered", "") if "delivered" in reached else ("read", "")


def is_over(message: Message) -> bool:
    """Whether every recipient account has it, or never will."""
    return all(_of_account(message, account)[0] != "sent" for account in message.to)


def _of_account(message: Message, account: str) -> tuple[State, str]:
    found = [one for one in message.outcomes.values() if one.account == account]
    best = max(found, key=lambda one: _STRENGTH[one.state], default=None)
    if best is None:
        return "sent", ""
    if best.state in ("delivered", "read"):
        return best.state, ""
    if any(one.state == "waiting" for one in found):
        return "sent", ""
    return "failed", best.state
