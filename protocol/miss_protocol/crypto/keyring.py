"""This device's own private keys, and which of them were used. Spec: 04-encryption §5.

Items in the state at rest: `device` (signing key and certificate, `next id` of prekeys), `olm`
(the Olm account), `prekey/<id>`, `seen/<session id>`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nacl.signing import SigningKey

from miss_protocol.crypto import hybrid
from miss_protocol.crypto.olm import BATCH_MAX, PICKLE_KEY_BYTES, OlmAccount
from miss_protocol.encoding import fixed, pack, read_u64, u64, unpack_exactly
from miss_protocol.identity import certificate as certificates
from miss_protocol.identity import prekeys
from miss_protocol.identity.certificate import DeviceCertificate
from miss_protocol.identity.prekeys import SignedPrekey
from miss_protocol.ids import AccountAddress, device_id
from miss_protocol.limits import LAST_RESORT_ROTATION

ONE_TIME_KEPT_MAX = 1000
"""Private halves of one-time prekeys: twenty times what a server holds. An attacker who claims
them all only makes the oldest unusable; their senders start anew over another."""
LAST_RESORTS_KEPT = 2
"""The current one and the one before: vodozemac keeps as many fallback keys."""


@dataclass(frozen=True, repr=False)
class PrivatePrekey:
    """The private half of a published prekey: an X-Wing seed, and the public Olm key beside it."""

    seed: bytes
    otk: bytes
    last_resort: bool
    created_ms: int

    def encode(self) -> bytes:
        """Write it for the state at rest; it is secret."""
        kind = b"\1" if self.last_resort else b"\0"
        return pack(self.seed, self.otk, kind, u64(self.created_ms))

    @classmethod
    def decode(cls, data: bytes) -> "PrivatePrekey":
        """Read what `encode` wrote; raises `Malformed`."""
        seed, otk, kind, created = unpack_exactly(data, 4)
        return cls(fixed(seed, hybrid.SEED_BYTES), otk, kind == b"\1", read_u64(created))


class Keyring:
    """Own keys. `changed` names the items to save; whoever saves them clears it."""

    def __init__(
        self,
        signing_key: SigningKey,
        certificate: DeviceCertificate,
        olm: OlmAccount,
        next_id: int,
        random: Callable[[int], bytes],
    ) -> None:
        self.signing_key = signing_key
        self.certificate = certificate
        self.olm = olm
        self.changed: set[str] = set()
        self._next_id = next_id
        self._random = random
        self._prekeys: dict[int, PrivatePrekey] = {}
        self._seen: dict[bytes, int] = {}

    @classmethod
    def create(
        cls, account: AccountAddress, *, now_ms: int, random: Callable[[int], bytes]
    ) -> "Keyring":
        """Make a new device's keys."""
        signing_key, olm = SigningKey(random(32)), OlmAccount()
        certificate = certificates.issue(
            signing_key, account, device_id(random(16)), olm.identity_key, now_ms
        )
        keyring = cls(signing_key, certificate, olm, 1, random)
        keyring.changed |= {"device", "olm"}
        return keyring

    @classmethod
    def load(cls, items: Mapping[str, bytes], *, random: Callable[[int], bytes]) -> "Keyring":
        """Read the items of this file's kinds; others are left alone.

        Raises:
            KeyError, ValueError, Malformed, Untrusted: they are incomplete or damaged.
        """
        seed, certificate, next_id = unpack_exactly(items["device"], 3)
        keyring = cls(
            SigningKey(seed),
            certificates.decode(certificate),
            OlmAccount.load(items["olm"]),
            read_u64(next_id),
            random,
        )
        for name, item in items.items():
            kind, _, rest = name.partition("/")
            if kind == "prekey":
                keyring._prekeys[int(rest)] = PrivatePrekey.decode(item)
            elif kind == "seen":
                keyring._seen[bytes.fromhex(rest)] = read_u64(item)
        return keyring

    def new_one_time(self, count: int, *, now_ms: int) -> list[SignedPrekey]:
        """Make one-time prekeys. Next: save, only then upload."""
        made: list[SignedPrekey] = []
        while len(made) < count:
            batch = self.olm.new_one_time_keys(min(count - len(made), BATCH_MAX))
            made += [self._publish(otk, last_resort=False, now_ms=now_ms) for otk in batch]
        one_time = self._ids(last_resort=False)
        for number in one_time[:-ONE_TIME_KEPT_MAX]:
            self._drop(number)
        self.changed.add("olm")
        return made

    def new_last_resort(self, *, now_ms: int) -> SignedPrekey:
        """Make a last-resort prekey; the one before it stays, older ones are gone with the memory
        of which handshakes used them. Next: save, only then upload."""
        made = self._publish(self.olm.new_fallback_key(), last_resort=True, now_ms=now_ms)
        for number in self._ids(last_resort=True)[:-LAST_RESORTS_KEPT]:
            self._drop(number)
            for session in [s for s, used in self._seen.items() if used == number]:
                del self._seen[session]
                self.changed.add(f"seen/{session.hex()}")
        self.changed.add("olm")
        return made

    def last_resort_due(self, now_ms: int) -> bool:
        """Whether the current last-resort prekey is missing or a week old."""
        current = self._ids(last_resort=True)[-1:]
        return all(
            abs(now_ms - self._prekeys[number].created_ms) >= LAST_RESORT_ROTATION * 1000
            for number in current
        )

    def void_one_time(self) -> None:
        """Forget every one-time prekey: a restored server may hand out used ones."""
        for number in self._ids(last_resort=False):
            self._drop(number)

    def find(self, number: int, otk: bytes, session: bytes) -> PrivatePrekey | None:
        """The prekey that a handshake may use, or `None`: unknown, used, of another pair, or this
        very handshake was accepted before (a last-resort prekey alone does not show that)."""
        prekey = self._prekeys.get(number)
        if prekey is None or prekey.otk != otk or session in self._seen:
            return None
        return prekey

    def used(self, number: int, session: bytes) -> None:
        """Note that a handshake was accepted: a one-time prekey is gone, a last-resort one will
        not serve the same handshake again."""
        if self._prekeys[number].last_resort:
            self._seen[session] = number
            self.changed.add(f"seen/{session.hex()}")
        else:
            self._drop(number)
        self.changed.add("olm")

    def item(self, name: str) -> bytes | None:
        """An item's bytes as they are now; `None` if it is to be deleted."""
        kind, _, rest = name.partition("/")
        if kind == "device":
            seed, certificate = bytes(self.signing_key), self.certificate.encode()
            return pack(seed, certificate, u64(self._next_id))
        if kind == "olm":
            return self.olm.save(self._random(PICKLE_KEY_BYTES))
        if kind == "prekey":
            prekey = self._prekeys.get(int(rest))
            return None if prekey is None else prekey.encode()
        number = self._seen.get(bytes.fromhex(rest))
        return None if number is None else u64(number)

    def _publish(self, otk: bytes, *, last_resort: bool, now_ms: int) -> SignedPrekey:
        number, seed = self._next_id, self._random(hybrid.SEED_BYTES)
        self._next_id += 1
        self._prekeys[number] = PrivatePrekey(seed, otk, last_resort, now_ms)
        self.changed |= {"device", f"prekey/{number}"}
        return prekeys.issue(
            self.signing_key,
            self.certificate.device,
            number,
            otk,
            hybrid.public_key(seed),
            last_resort=last_resort,
        )

    def _ids(self, *, last_resort: bool) -> list[int]:
        return sorted(n for n, one in self._prekeys.items() if one.last_resort == last_resort)

    def _drop(self, number: int) -> None:
        del self._prekeys[number]
        self.changed.add(f"prekey/{number}")
