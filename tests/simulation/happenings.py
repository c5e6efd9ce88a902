"""Everything that can happen in a world, one step each: a method tells whether it was possible."""

import msgspec

from miss_protocol import api
from miss_protocol import frames as f
from miss_protocol.errors import Code, RemoteError
from miss_protocol.identity import roster as rosters
from miss_server.http import mailbox as mailbox_http
from tests.simulation.disk import Draft
from tests.simulation.ground import DEATHS, FATES, STEPS_OF_CLOCK, TTLS, WAITS, Ground, Pending
from tests.simulation.phone import Phone
from tests.simulation.storage import Died


class Happenings(Ground):
    """The steps. `a` and `b` choose among what is possible."""

    def _write(self, a: int, b: int) -> bool:
        phone: Phone = self._pick(self._usable() or [None], a)
        if phone is None:
            return False
        others = [some[0].account for some in self.cast.members]
        others.remove(phone.account)
        to = ((others[0],), (others[1],), tuple(others))[b % 3]
        self.messages += 1
        phone.write(
            Draft(
                self.messages,
                to,
                self._phone_time(),
                TTLS[(b // 3) % 4],
                poison=(b // 12) % 6 == 0,
                poison_again=(b // 12) % 6 in (1, 2) and self.profile.restores,
                large=(b // 72) % 4 == 0,
            )
        )
        return True

    def _work(self, a: int, b: int) -> bool:
        """A device does what it has to do: ask for rosters, encrypt, send."""
        usable = self._usable()
        if not usable:
            return False
        phone: Phone = self._pick(usable, a)
        calling = any(p.phone is phone for p in self.calls)
        busy = calling or not phone.admitted
        if self._locked(phone):
            return False
        before = len(self.calls), phone.disk.sn
        if not calling and phone.lost_rosters:
            certificate = b"" if phone.admitted else phone.member.certificate.encode()
            self._propose(phone, phone.lost_rosters.pop(0), certificate)
        elif not busy and phone.wanted:
            self._ask_roster(phone)
        elif not busy and phone.welcomed and phone.disk.upload is not None:
            self._upload(phone, phone.disk.upload)
        while phone.encrypt():
            pass
        phone.push()
        written = phone.session.data_to_send() if phone.socket else []
        if phone.socket is not None:
            phone.socket.up.extend(written)
        return bool(written) or before != (len(self.calls), phone.disk.sn)

    def _upload_again(self, a: int, b: int) -> bool:
        """A device uploads its latest prekeys once more, connected or not."""
        ready = [phone for phone in self._usable() if phone.disk.latest is not None]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        assert phone.disk.latest is not None
        self._upload(phone, phone.disk.latest)
        return True

    def _claim(self, a: int, b: int) -> bool:
        usable = self._usable()
        if not usable:
            return False
        phone: Phone = self._pick(usable, a)
        others = [one.id for one in self.phones.values() if one.account != phone.account]
        first = b % len(others)
        call = api.PrekeysClaimed(tuple(others[first : first + 1 + b // 16 % 2]))
        self._begin_call(self._claimed, phone, call, lambda _: None)
        return True

    def _look(self, a: int, b: int) -> bool:
        reading = [phone for phone in self._usable() if phone.disk.shown]
        if not reading:
            return False
        phone: Phone = self._pick(reading, a)
        phone.read_aloud(b % len(phone.disk.shown))
        phone._ack(None)
        phone.flush()
        return True

    def _change_roster(self, a: int, b: int) -> bool:
        able = [
            phone
            for phone in self._usable()
            if (own := phone.disk.rosters.get(phone.account)) is not None and own.find(phone.id)
        ]
        if not able:
            return False
        phone: Phone = self._pick(able, a)
        own = phone.disk.rosters[phone.account]
        some = next(m for m in self.cast.members if m[0].account == phone.account)
        gone = {one.device for one in own.revoked}
        new = [m for m in some if own.find(m.id) is None and m.id not in gone]
        listed = [m for m in some if own.find(m.id) is not None and m.id != phone.id]
        if b % 3 and new:
            add, revoke = [self._pick(new, b // 3).entry], []
        elif listed:
            add, revoke = [], [self._pick(listed, b // 3).id]
        else:
            return False
        following = rosters.succeed(
            own, phone.member.key, phone.id, add=add, revoke=revoke, now_ms=self._phone_time()
        )
        self._propose(phone, following)
        return True

    def _dial(self, a: int, b: int) -> bool:
        ready = [
            phone
            for phone in self._usable()
            if (phone.socket is None or b % 32 == 0) and not self._locked(phone)
        ]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        self._connect(phone)
        return True

    def _cut(self, a: int, b: int) -> bool:
        connected = [phone for phone in self._usable() if phone.socket is not None]
        if not connected:
            return False
        phone: Phone = self._pick(connected, a)
        assert phone.socket is not None
        # What was on its way may arrive, or a part of it from the beginning.
        for _ in range(b % 3):
            if phone.socket.up:
                phone.socket.up.pop()
        phone.hang_up()
        return True

    def _server_reads(self, a: int, b: int) -> bool:
        heard = [
            socket
            for socket in self.sockets
            if not socket.server_gone and (socket.up or socket.client_gone)
        ]
        if not heard:
            return False
        self._pick(heard, a).hear()
        return True

    def _phone_reads(self, a: int, b: int) -> bool:
        ready = [
            phone
            for phone in self._usable()
            if phone.socket is not None and phone.socket.down and not self._locked(phone)
        ]
        if not ready:
            return False
        self._pick(ready, a).read(DEATHS[b % len(DEATHS)])
        return True

    def _phone_dies(self, a: int, b: int) -> bool:
        usable = self._usable()
        if not usable:
            return False
        phone: Phone = self._pick(usable, a)
        phone.hang_up()
        phone.wake()
        return True

    def _back_up_phone(self, a: int, b: int) -> bool:
        usable = self._usable()
        if not (self.profile.old_phones and usable):
            return False
        phone: Phone = self._pick(usable, a)
        self._backups[phone.id] = phone.disk.backup()
        return True

    def _restore_phone(self, a: int, b: int) -> bool:
        able = [phone for phone in self._usable() if phone.id in self._backups]
        if not able or b % 2:
            return False
        phone: Phone = self._pick(able, a)
        phone.hang_up()
        phone.disk, phone.is_copy = self._backups.pop(phone.id), True
        phone.wake()
        return True

    def _fetch(self, a: int, b: int) -> bool:
        ready = [phone for phone in self._usable() if not self._locked(phone)]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        call = phone.mailbox_call()

        def told(body: bytes) -> None:
            phone.fetched(call, msgspec.json.decode(body, type=api.MailboxPage))

        self._begin_call(mailbox_http.fetch, phone, call, told, locks=True)
        return True

    def _post(self, a: int, b: int) -> bool:
        ready = [phone for phone in self._usable() if phone.unsettled()]
        if not ready:
            return False
        phone: Phone = self._pick(ready, a)
        send, node = phone.unsettled()[0], self.node

        def told(body: bytes) -> None:
            reply = msgspec.json.decode(body, type=f.Sent | f.Refused | f.RetrySend)
            if isinstance(reply, f.RetrySend):
                return
            if node is self.node:
                self._said(phone.id, reply)
            else:
                self.ledger.heard(phone.id, reply)
            phone.settle(reply)

        self._begin_call(mailbox_http.send, phone, send, told)
        return True

    def _answer_call(self, a: int, b: int) -> bool:
        done = [pending for pending in self.calls if pending.call.done]
        if not done:
            return False
        pending: Pending = self._pick(done, a)
        self.calls.remove(pending)
        phone = pending.phone
        answer = pending.call.answer()
        if b % 6 == 0 or phone.life != pending.life or phone.over or answer is None:
            return True  # the answer was lost on its way
        if isinstance(answer, RemoteError):
            if answer.code is Code.ROSTER_CONFLICT:
                if phone.admitted:
                    phone.want(phone.account)
            elif answer.code is Code.PREKEYS_STALE:
                phone.outdated(msgspec.json.decode(pending.body, type=api.PrekeysUploaded))
            elif self._is_revoked(phone):
                phone.end("revoked")  # in the middle of the call: any refusal will do
            else:
                phone.refused(answer)
        else:
            pending.told(answer)
        return True

    def _commit(self, a: int, b: int) -> bool:
        writer = self.node.store.writer
        if not writer.waiting:
            return False
        try:
            writer.commit(1 + a % 8, FATES[b % len(FATES)])
        except Died:
            self._loop_settled()
            self.ledger.committed(self.node.store.eyes)
            self._restart()
            self.ledger.restarted(self.node.store.eyes)
            return True
        self._loop_settled()
        self.ledger.committed(self.node.store.eyes)
        self._look_for_new_devices()
        return True

    def _answer_reads(self, a: int, b: int) -> bool:
        if not self.node.store.asked:
            return False
        self.node.store.answer_reads(1 + a % 4)
        return True

    def _ring(self, a: int, b: int) -> bool:
        if not self.node.doorbell.rings:
            return False
        if self.profile.deaf or b % 4 == 0:
            self.node.doorbell.rings.popleft()
        else:
            self.node.doorbell.sound()
        return True

    def _time_passes(self, a: int, b: int) -> bool:
        self.loop.advance(WAITS[a % (len(WAITS) if b % 4 == 0 else 5)])
        self.node.round("tick")
        return True

    def _round(self, a: int, b: int) -> bool:
        self.node.round(("sweep", "sweep", "expire", "clean")[a % 4])
        return True

    def _clock_steps(self, a: int, b: int) -> bool:
        if not self.profile.clock_steps:
            return False
        self.clock.ahead_ms = STEPS_OF_CLOCK[a % len(STEPS_OF_CLOCK)]
        return True

    def _crash(self, a: int, b: int) -> bool:
        if b % 3:
            return False
        self._restart()
        self.ledger.restarted(self.node.store.eyes)
        return True

    def _copy_database(self, a: int, b: int) -> bool:
        if not self.profile.restores or len(self._copies) >= 4:
            return False
        self.handed_out.copied(self.node.store.eyes)
        database = self._home.copy(self.node.store)
        self._copies.append((database, self._home.witness.read_bytes()))
        return True

    def _restore_database(self, a: int, b: int) -> bool:
        if not self._copies or b % 2:
            return False
        database, seen = self._pick(self._copies, a)
        whole = b % 4 == 0
        """Of the whole machine: the witness goes back too, and only a device can tell."""
        self._restart(database, seen if whole else None)
        self.ledger.restored(self.node.store.eyes)
        if whole:
            self.handed_out.unwitnessed = True
        for phone in self.phones.values():
            phone.server_lost_memory = True
        return True
