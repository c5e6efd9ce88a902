"""The small parts: chain, padding, body, wrap layout, pair chain, state at rest."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from miss_protocol.crypto import at_rest, body, envelope, hybrid, padding, pair, secretbox, wrapped
from miss_protocol.crypto.chain import Chain
from miss_protocol.crypto.envelope import Opening
from miss_protocol.crypto.pair import START, Order, Received, Sent
from miss_protocol.errors import Code, Malformed, Refused, Undecryptable, Untrusted
from miss_protocol.ids import MessageId
from miss_protocol.limits import BODY_MAX, CHAIN_GAP_MAX, CHAIN_SKIPPED_MAX

# --- chain ----------------------------------------------------------------------------------------


def _keys(count: int) -> list[bytes]:
    chain, keys = Chain(b"k" * 32), []
    for _ in range(count):
        key, chain = chain.step()
        keys.append(key)
    return keys


KEYS = _keys(200)


@given(st.permutations(range(40)))
def test_a_chain_gives_each_key_once_in_any_order(order: list[int]) -> None:
    chain = Chain(b"k" * 32)
    for number in order:
        key, chain = chain.take(number)
        assert key == KEYS[number]
        with pytest.raises(Undecryptable):
            chain.take(number)
    assert not chain.skipped


def test_a_chain_keeps_the_newest_skipped_keys() -> None:
    _, chain = Chain(b"k" * 32).take(199)
    assert sorted(chain.skipped) == list(range(199 - CHAIN_SKIPPED_MAX, 199))
    _, chain = chain.take(203)
    assert sorted(chain.skipped) == [*range(138, 199), 200, 201, 202]
    with pytest.raises(Undecryptable):
        chain.take(10)


def test_a_gap_is_bounded_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(b"k" * 32)
    _, after = chain.take(CHAIN_GAP_MAX)
    assert after.next_number == CHAIN_GAP_MAX + 1
    work: list[int] = []
    monkeypatch.setattr("miss_protocol.crypto.chain.derive", lambda *_: work.append(1))
    for number in (CHAIN_GAP_MAX + 1, 2**32 - 1):
        with pytest.raises(Undecryptable):
            chain.take(number)
    assert not work


def test_a_chain_does_not_change_by_looking() -> None:
    chain = Chain(b"k" * 32)
    chain.take(50)
    assert chain == Chain(b"k" * 32)


def test_a_chain_survives_saving() -> None:
    _, chain = Chain(b"k" * 32).take(5)
    again = Chain.decode(chain.encode())
    assert again == chain
    assert again.take(2)[0] == KEYS[2]


# --- padding --------------------------------------------------------------------------------------


@given(st.binary(max_size=20_000))
def test_padding_comes_off_again(data: bytes) -> None:
    padded = padding.pad(data)
    assert padding.unpad(padded) == data
    assert len(padded) == padding.padded_length(len(data)) > len(data)
    assert len(padded) <= max(256, 2 * (len(data) + 1))


def test_padded_lengths_are_few() -> None:
    assert {padding.padded_length(n) for n in range(4096)} == {256, 512, 1024, 2048, 4096}
    assert len({padding.padded_length(n) for n in range(4096, 16384)}) < 40


@pytest.mark.parametrize("padded", [b"", bytes(256), b"x" * 256, b"\x80", b"\x80" + bytes(511)])
def test_padding_has_one_form(padded: bytes) -> None:
    with pytest.raises(Malformed):
        padding.unpad(padded)


# --- body -----------------------------------------------------------------------------------------

MESSAGE = MessageId(b"m" * 16)
KEY = b"c" * 32


def test_a_body_opens_with_its_key_and_id_only() -> None:
    sealed = body.seal(b"inner", MESSAGE, content_key=KEY)
    assert body.unseal(sealed, MESSAGE, content_key=KEY) == b"inner"
    for message, key in ((MessageId(b"x" * 16), KEY), (MESSAGE, b"d" * 32)):
        with pytest.raises(Undecryptable):
            body.unseal(sealed, message, content_key=key)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_body_opens(at: int, flip: int) -> None:
    altered = bytearray(body.seal(b"inner", MESSAGE, content_key=KEY))
    altered[at % len(altered)] ^= flip
    with pytest.raises(Undecryptable):
        body.unseal(bytes(altered), MESSAGE, content_key=KEY)


def test_a_body_opens_under_one_key_though_the_cipher_would_allow_two() -> None:
    """Not even its maker can put it under a key with another nonce than that key's own."""
    other_key, _ = body._key_and_nonce(b"d" * 32)
    _, nonce = body._key_and_nonce(KEY)
    ad = body._ad(MESSAGE)
    text = crypto_aead_xchacha20poly1305_ietf_encrypt(padding.pad(b"i"), ad, nonce, other_key)
    with pytest.raises(Undecryptable):
        body.unseal(b"\1" + nonce + text, MESSAGE, content_key=b"d" * 32)


def test_bad_padding_inside_a_genuine_body_looks_like_any_failure() -> None:
    key, nonce = body._key_and_nonce(KEY)
    sealed = b"\1" + secretbox.seal(key, nonce, bytes(256), body._ad(MESSAGE))
    with pytest.raises(Undecryptable):
        body.unseal(sealed, MESSAGE, content_key=KEY)


def test_a_body_has_a_limit() -> None:
    assert len(body.seal(bytes(15_871), MESSAGE, content_key=KEY)) <= BODY_MAX
    with pytest.raises(Refused) as refused:
        body.seal(bytes(15_872), MESSAGE, content_key=KEY)
    assert refused.value.code is Code.TOO_LARGE


# --- wrap -----------------------------------------------------------------------------------------

OPENING = Opening(7, b"o" * 32, b"e" * hybrid.SEALED_ROOT_BYTES)


@pytest.mark.parametrize("opening", [None, OPENING])
def test_a_wrap_is_taken_apart_where_it_was_joined(opening: Opening | None) -> None:
    header = envelope.header(b"s" * 16, 9, opening)
    assert len(header) == (22 if opening is None else 22 + 1208)
    read = envelope.read(header + b"n" * 40)
    assert (read.session, read.number, read.opening) == (b"s" * 16, 9, opening)
    assert (read.header, read.sealed) == (header, b"n" * 40)
    assert read.kind == (1 if opening is None else 0)


@pytest.mark.parametrize(
    "wrap",
    [
        b"",
        b"\1\1" + bytes(59),
        b"\2\1" + bytes(100),
        b"\0\1" + bytes(100),
        b"\1\2" + bytes(100),
        b"\1\0" + bytes(22 + 1208 + 40 - 3),
        b"\1\1" + bytes(2047),
    ],
)
def test_a_wrap_of_another_form_is_refused(wrap: bytes) -> None:
    with pytest.raises(Undecryptable):
        envelope.read(wrap)


def test_what_a_wrap_carries() -> None:
    plain = wrapped.Wrapped(b"k" * 32, b"h" * 32, MESSAGE, 3, b"l" * 32)
    assert len(plain.encode()) == 120
    assert wrapped.read(plain.encode()) == plain
    for data in (plain.encode() + b"x", plain.encode()[:-1], replace(plain, number=0).encode()):
        with pytest.raises(Undecryptable):
            wrapped.read(data)


def test_handshakes_differ_in_every_part() -> None:
    info = envelope.handshake_info(b"a" * 32, b"b" * 32, 1, b"o" * 32)
    others = [
        envelope.handshake_info(b"b" * 32, b"a" * 32, 1, b"o" * 32),
        envelope.handshake_info(b"a" * 32, b"b" * 32, 2, b"o" * 32),
        envelope.handshake_info(b"a" * 32, b"b" * 32, 1, b"p" * 32),
    ]
    assert len({info, *others}) == 4
    assert envelope.session_id(b"e", info) != envelope.session_id(b"f", info)


# --- hybrid ---------------------------------------------------------------------------------------


def test_a_root_opens_for_its_key_and_handshake_only() -> None:
    sealed = hybrid.seal_root(b"r" * 32, hybrid.public_key(b"s" * 32), b"info")
    assert hybrid.open_root(sealed, b"s" * 32, b"info") == b"r" * 32
    for seed, info in ((b"t" * 32, b"info"), (b"s" * 32, b"other")):
        with pytest.raises(Undecryptable):
            hybrid.open_root(sealed, seed, info)


def test_a_root_has_its_length() -> None:
    sealed = hybrid.seal_root(b"r" * 31, hybrid.public_key(b"s" * 32), b"info")
    with pytest.raises(Undecryptable):
        hybrid.open_root(sealed, b"s" * 32, b"info")


def test_short_keys_are_refused() -> None:
    with pytest.raises(Untrusted):
        hybrid.seal_root(b"r" * 32, b"", b"info")


# --- pair chain -----------------------------------------------------------------------------------


def _sent(count: int) -> list[tuple[int, bytes, bytes, bytes]]:
    """(number, link, message, body hash) of consecutive messages."""
    sent, made = Sent(), []
    for number in range(1, count + 1):
        message, hashed = bytes([number]) * 16, bytes([number]) * 32
        made.append((number, sent.link, message, hashed))
        sent = sent.after(message, hashed)
    return made


PAIR = _sent(100)


def _run(*numbers: int, state: Received | None = None) -> tuple[list[tuple[Order, int]], Received]:
    state, outcomes = state or Received(), []
    for number in numbers:
        order, missing, state = state.place(*PAIR[number - 1])
        outcomes.append((order, missing))
    return outcomes, state


def test_messages_in_order() -> None:
    outcomes, state = _run(1, 2, 3)
    assert outcomes == [(Order.NEXT, 0)] * 3
    assert (state.count, state.holes) == (3, ())


def test_a_hole_is_counted_and_closes_when_late_ones_come() -> None:
    outcomes, state = _run(1, 6, 4, 2, 5, 3)
    assert outcomes == [(Order.NEXT, 0), (Order.HOLE, 4), *[(Order.LATE, 0)] * 4]
    assert state.holes == ()


def test_a_number_used_twice_contradicts() -> None:
    outcomes, _ = _run(1, 2, 2)
    assert outcomes[-1] == (Order.CONTRADICTION, 0)
    outcomes, _ = _run(1, 4, 3, 3)
    assert outcomes[-1] == (Order.CONTRADICTION, 0)


def test_another_past_contradicts() -> None:
    _, state = _run(1)
    order, _, _ = state.place(2, b"x" * 32, b"m" * 16, b"h" * 32)
    assert order is Order.CONTRADICTION


@pytest.mark.parametrize("number", [2, 4])
def test_a_late_message_must_fit_both_neighbours(number: int) -> None:
    _, state = _run(1, 5)
    _, link, message, _ = PAIR[number - 1]
    wrong = (b"x" * 32, message, b"h" * 32) if number == 2 else (link, message, b"h" * 32)
    order, _, _ = state.place(number, *wrong)
    assert order is Order.CONTRADICTION


def test_remembered_holes_are_bounded() -> None:
    _, state = _run(*range(2, 100, 2))
    assert len(state.holes) == pair.HOLES_MAX
    outcomes, _ = _run(1, state=state)
    assert outcomes == [(Order.CONTRADICTION, 0)]


def test_pair_chains_survive_saving() -> None:
    _, state = _run(1, 4, 9)
    assert Received.decode(state.encode()) == state
    sent = Sent().after(b"m" * 16, b"h" * 32)
    assert Sent.decode(sent.encode()) == sent
    assert sent.link != START


@given(st.permutations(range(1, 12)))
def test_any_order_of_honest_messages_is_late_or_a_hole(numbers: list[int]) -> None:
    outcomes, state = _run(*numbers)
    assert Order.CONTRADICTION not in {order for order, _ in outcomes}
    assert state.count == 11
    assert state.holes == ()


# --- state at rest --------------------------------------------------------------------------------


def test_a_row_opens_under_its_name_only() -> None:
    key = os.urandom(32)
    sealed = at_rest.seal_blob(key, "session/1", b"secret", os.urandom)
    assert at_rest.open_blob(key, "session/1", sealed) == b"secret"
    assert sealed != at_rest.seal_blob(key, "session/1", b"secret", os.urandom)
    for other_key, name in ((os.urandom(32), "session/1"), (key, "session/2")):
        with pytest.raises(Undecryptable):
            at_rest.open_blob(other_key, name, sealed)
    with pytest.raises(Undecryptable):
        at_rest.open_blob(key, "session/1", b"short")


def test_a_stores_key_follows_from_the_passphrase_and_its_salt() -> None:
    key = at_rest.derive_key("une phrase de passe", b"s" * 16)
    assert len(key) == 32
    assert key == at_rest.derive_key("une phrase de passe", b"s" * 16)
    assert key != at_rest.derive_key("une phrase de passe", b"t" * 16)
    with pytest.raises(Malformed):
        at_rest.derive_key("une phrase de passe", b"")
