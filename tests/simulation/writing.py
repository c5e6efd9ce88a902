"""The sending half of a model device: drafts, numbered entries, what became of them."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from msgspec import UNSET

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code, Retry, Untrusted, code_of
from miss_protocol.identity.receipts import Receipt, ReceiptState, verify_receipt
from miss_protocol.ids import AccountAddress, DeviceId, MessageId
from tests.simulation.device import Device, ServerFault
from tests.simulation.disk import Draft, Entry, Outcome
from tests.simulation.letters import Letter, seal, wrap

TRIES_MAX = 8


class Writing(Device):
    """What `miss_client.outbox` does."""

    def write(self, draft: Draft) -> None:
        """The user wrote a message; it is saved."""
        self.disk.outcomes[draft.message] = {}
        self.disk.drafts.append(draft)

    def encrypt(self) -> bool:
        """Encrypt the next draft whose turn it is; tells whether there was one."""
        now = self._now_ms()
        held: set[AccountAddress] = set()
        for place, draft in enumerate(self.disk.drafts):
            if not held.isdisjoint(draft.to) and not draft.devices:
                continue
            accounts = self._accounts(draft)
            unknown = [a for a in accounts if a not in self.disk.rosters or a in self.wanted]
            for account in unknown:
                self.want(account)
            if draft.not_before_ms > now or unknown:
                held.update(draft.to)
                continue
            del self.disk.drafts[place]
            self._seal(draft, accounts, now)
            return True
        return False

    def _accounts(self, draft: Draft) -> list[AccountAddress]:
        return [*(a for a in draft.to if a != self.account), self.account]

    def _seal(self, draft: Draft, accounts: Sequence[AccountAddress], now: int) -> None:
        disk = self.disk
        if draft.sent_ms + draft.ttl * 1000 <= now:
            self._fail(draft, "expired")
            return
        if draft.frame is not None:
            disk.sn += 1
            send = msgspec.structs.replace(draft.frame, sn=disk.sn)
            disk.entries[disk.sn] = Entry(send, replace(draft, frame=None))
            return
        rosters = [disk.rosters[account] for account in accounts]
        peers = [
            (roster.account, entry.device)
            for roster in rosters
            for entry in roster.entries
            if entry.device != self.id and entry.device not in disk.dormant.get(roster.account, ())
        ]
        if draft.devices:
            peers = [peer for peer in peers if peer[1] in draft.devices]
            if not peers:
                self._give_up(draft, "revoked")
                return
        elif not {account for account, _ in peers}.issuperset(draft.to):
            self._fail(draft, "dormant")
            return
        disk.sn += 1
        id = draft.wire or self._random.randbytes(16)
        first = disk.first_ids.setdefault(draft.message, id) if draft.message else id
        letter = Letter(id, self.id, draft.message, first if first != id else b"")
        send = f.Send(
            sn=disk.sn,
            id=id,
            at=draft.sent_ms,
            body=seal(letter, large=draft.large),
            wraps=tuple(
                f.DeviceWrap(device, wrap(letter, device, poison=self._poisoned(draft, device)))
                for _, device in peers
            ),
            rosters=tuple(f.RosterUsed(roster.account, roster.version) for roster in rosters),
            kind=draft.kind,
            ttl=draft.ttl,
            partial=bool(draft.devices),
        )
        self.sends[id] = send
        disk.entries[disk.sn] = Entry(send, draft)
        if not draft.message:
            return
        disk.wires[id] = draft.message
        outcomes = disk.outcomes[draft.message] if draft.devices else {}
        for account, device in peers:
            again = outcomes[device].again if device in outcomes else 0
            outcomes[device] = Outcome(account, "waiting", id, again)
        disk.outcomes[draft.message] = outcomes

    def _poisoned(self, draft: Draft, device: bytes) -> bool:
        """Whether this encryption for the first device of that account fails there."""
        poison = draft.poison or (draft.poison_again and draft.tries > 0)
        return poison and device == self._cast.members[device[0] % 3][0].id

    def push(self) -> None:
        """Send what is encrypted and not answered, oldest first."""
        if not self.welcomed or self._now_ms() < self.held_until:
            return
        for send in self.unsettled():
            if not self.session.may_send:
                break
            if send.sn not in self.session.in_flight:
                self.session.send(send)

    def unsettled(self) -> list[f.Send]:
        """What the server has not answered."""
        return [e.send for _, e in sorted(self.disk.entries.items()) if not e.settled]

    def settle(self, reply: f.Sent | f.Refused) -> None:
        """Save the server's answer to a send."""
        entry = self.disk.entries.get(reply.sn)
        if entry is None or entry.settled:
            return
        self.disk.settled = max(self.disk.settled, reply.sn)
        if isinstance(reply, f.Refused):
            self._refused(entry, reply)
            return
        message = entry.draft.message
        if not message or (entry.draft.devices and not self._awaited(entry)):
            del self.disk.entries[reply.sn]
            return
        outcomes = self.disk.outcomes[message]
        for refused in reply.refused:
            if refused.device in outcomes:
                outcomes[refused.device] = outcomes[refused.device].advance("refused")
        self.disk.entries[reply.sn] = replace(entry, settled=True)
        self._forget_if_over(message)

    def _awaited(self, entry: Entry) -> bool:
        outcomes = self.disk.outcomes[entry.draft.message]
        return any(
            outcomes[device].account != self.account
            for device in entry.draft.devices
            if device in outcomes
        )

    def _refused(self, entry: Entry, reply: f.Refused) -> None:
        code = code_of(reply.code)
        draft = entry.draft
        assert code is not None
        if code is Code.REVOKED:
            self.end("revoked")
            return
        if code is Code.SN_REUSED and self.is_copy:
            self.end("rolled back")
            return
        forgotten = code is Code.SN_FORGOTTEN and not self.server_lost_memory
        if forgotten or code in (Code.SN_REUSED, Code.MALFORMED, Code.NOT_ENCRYPTED):
            raise ServerFault(f"{code.wire} for an honest send")
        del self.disk.entries[reply.sn]
        if code.retry in (Retry.REFRESH, Retry.SAME) and draft.tries < TRIES_MAX:
            for account in reply.accounts:
                self.want(AccountAddress(account))
            after = 0.0 if reply.retry_after is UNSET else reply.retry_after
            later = self._now_ms() + round(after * 1000) if after else 0
            if code is Code.UNCONFIRMED:
                again = replace(draft, not_before_ms=later, frame=entry.send)
            else:
                tries = draft.tries + 1
                again = replace(draft, tries=tries, not_before_ms=later, wire=entry.send.id)
            self._queue(again)
        else:
            self._fail(draft, reply.code)

    def _queue(self, draft: Draft) -> None:
        """In its old place among what the user wrote."""
        drafts = [one for one in self.disk.drafts if one.message]
        place = sum(1 for one in drafts if one.message <= draft.message)
        self.disk.drafts[:] = [one for one in self.disk.drafts if not one.message]
        self.disk.drafts += [*drafts[:place], draft, *drafts[place:]]

    def _fail(self, draft: Draft, reason: str) -> None:
        if not draft.message:
            return
        if draft.devices:
            self._give_up(draft, "undecryptable")
        else:
            self.disk.failed[draft.message] = reason

    def _give_up(self, draft: Draft, state: str) -> None:
        if not draft.message:
            return
        outcomes = self.disk.outcomes[draft.message]
        for device in draft.devices:
            outcomes[device] = outcomes[device].advance(state)
        self._forget_if_over(draft.message)

    def status(self, status: f.Status) -> None:
        """Save what became of a message."""
        message = self.disk.wires.get(status.id)
        if message is None:
            return
        outcomes = self.disk.outcomes[message]
        for state in status.devices:
            outcome = outcomes.get(state.device)
            if outcome is None:
                continue
            if state.state in ("delivered", "read"):
                if not self._receipt_holds(state, status.id):
                    continue
            elif outcome.wire != status.id or self._drafted(message, state.device):
                continue  # about an envelope that another one replaces
            elif state.state == "undecryptable" and outcome.again < limits.RESENDS_MAX:
                if outcome.state in ("delivered", "read"):
                    continue
                if self._encrypt_for(message, state.device):
                    outcomes[state.device] = replace(outcome, again=outcome.again + 1)
                    continue
            outcomes[state.device] = outcome.advance(state.state)
        self._forget_if_over(message)

    def _receipt_holds(self, state: f.DeviceState, id: bytes) -> bool:
        if not state.signature:
            self.unsigned += 1
            return False
        receipt = Receipt(
            MessageId(id),
            self.id,
            DeviceId(state.device),
            ReceiptState(state.state),
            state.at,
            state.signature,
        )
        try:
            verify_receipt(receipt, self._cast.member(state.device).certificate)
        except Untrusted:
            raise ServerFault("passed on a receipt that does not hold") from None
        return True

    def _drafted(self, message: int, device: bytes) -> bool:
        return any(d.message == message and d.devices == (device,) for d in self.disk.drafts)

    def _encrypt_for(self, message: int, device: bytes) -> bool:
        for _, entry in sorted(self.disk.entries.items()):
            if entry.draft.message == message:
                again = replace(
                    entry.draft,
                    devices=(device,),
                    tries=0,
                    poison=False,
                    poison_again=False,
                    wire=b"",
                    frame=None,
                )
                self._queue(again)
                return True
        return False

    def forget_expired(self) -> None:
        """What nobody confirmed in its time has ended for the user."""
        now = self._now_ms()
        for sn, entry in list(self.disk.entries.items()):
            draft = entry.draft
            if not entry.settled or draft.sent_ms + draft.ttl * 1000 >= now:
                continue
            self.disk.entries.pop(sn, None)
            outcomes = self.disk.outcomes[draft.message]
            for device, outcome in outcomes.items():
                outcomes[device] = outcome.advance("expired")
            self._forget_if_over(draft.message)

    def is_over(self, message: int) -> bool:
        """Whether every recipient account has it, or never will, as far as the user sees."""
        if message in self.disk.failed:
            return True
        outcomes = self.disk.outcomes[message]
        open_accounts = {
            account
            for account in {one.account for one in outcomes.values()} - {self.account}
            if not self._reached(outcomes, account)
            and any(o.account == account and o.state == "waiting" for o in outcomes.values())
        }
        return bool(outcomes) and not open_accounts

    @staticmethod
    def _reached(outcomes: dict[bytes, Outcome], account: AccountAddress) -> bool:
        return any(
            one.account == account and one.state in ("delivered", "read")
            for one in outcomes.values()
        )

    def _forget_if_over(self, message: int) -> None:
        if self.is_over(message):
            for sn, entry in list(self.disk.entries.items()):
                if entry.draft.message == message and entry.settled:
                    del self.disk.entries[sn]
