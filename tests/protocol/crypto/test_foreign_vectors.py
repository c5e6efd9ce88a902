"""Vectors that others wrote, run through the functions that this suite really calls."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_scalarmult
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from miss_protocol.crypto import hybrid, secretbox
from miss_protocol.crypto.chain import derive
from miss_protocol.errors import MissError, Undecryptable, Untrusted
from miss_protocol.identity.agreement import check_agreement_key
from miss_protocol.identity.signing import PUBLIC_KEY_BYTES

VECTORS = Path(__file__).parents[2] / "vectors"
X_WING = 0x647A


def _groups(name: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = json.loads(
        (VECTORS / "wycheproof" / f"{name}_test.json").read_text()
    )["testGroups"]
    return groups


def _tests(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(group, test) for group in _groups(name) for test in group["tests"]]


def _h(text: str) -> bytes:
    return bytes.fromhex(text)


def test_ed25519_verification() -> None:
    from nacl.signing import VerifyKey

    ran = 0
    for group, test in _tests("ed25519"):
        public = _h(group["publicKey"]["pk"])
        assert len(public) == PUBLIC_KEY_BYTES
        try:
            VerifyKey(public).verify(_h(test["msg"]), _h(test["sig"]))
            accepted = True
        except (CryptoError, ValueError):
            accepted = False
        assert accepted == (test["result"] == "valid"), test["comment"]
        ran += 1
    assert ran == 151


def test_x25519_agrees_and_low_order_keys_are_refused() -> None:
    refused = 0
    for _, test in _tests("x25519"):
        public, private = _h(test["public"]), _h(test["private"])
        try:
            check_agreement_key(public)
            sound = True
        except Untrusted:
            sound = False
        if sound:
            assert crypto_scalarmult(private, public) == _h(test["shared"])
        else:
            refused += 1
            # What is refused is only what the file marks as such, never an ordinary key.
            assert set(test["flags"]) & {"LowOrderPublic", "NonCanonicalPublic", "ZeroSharedSecret"}
        if "LowOrderPublic" in test["flags"] or "ZeroSharedSecret" in test["flags"]:
            assert not sound
    assert refused > 30


def test_every_refused_point_of_small_order_gives_a_constant_secret() -> None:
    """The list is checked against the curve itself, not against another list."""
    from miss_protocol.identity.agreement import _LOW_ORDER

    for point in _LOW_ORDER:
        with pytest.raises((SodiumError, CryptoError)):
            crypto_scalarmult(b"\x42" * 32, point.to_bytes(32, "little"))


def test_x25519_rfc7748() -> None:
    text = Path(
        str(cryptography_vectors.__path__[0]), "asymmetric", "X25519", "rfc7748.txt"
    ).read_text()
    cases = [
        dict(line.split(" = ") for line in block.splitlines() if " = " in line)
        for block in text.split("COUNT = ")
    ]
    ran = 0
    for case in cases:
        if "INPUT_SCALAR" in case:
            assert crypto_scalarmult(_h(case["INPUT_SCALAR"]), _h(case["INPUT_U"])) == _h(
                case["OUTPUT_U"]
            )
            ran += 1
    assert ran >= 2


def test_xchacha20_poly1305() -> None:
    ran = 0
    for _, test in _tests("xchacha20_poly1305"):
        nonce = _h(test["iv"])
        if len(nonce) != secretbox.NONCE_BYTES:
            # The layout has room for one length only, so no such nonce can arrive.
            assert test["result"] == "invalid"
            continue
        key, ad, text = _h(test["key"]), _h(test["aad"]), _h(test["msg"])
        sealed = nonce + _h(test["ct"]) + _h(test["tag"])
        if test["result"] == "valid":
            assert secretbox.unseal(key, sealed, ad) == text
            assert secretbox.seal(key, nonce, text, ad) == sealed
        else:
            with pytest.raises(Undecryptable):
                secretbox.unseal(key, sealed, ad)
        ran += 1
    assert ran > 280


def test_hkdf_expand() -> None:
    """`derive` is HKDF-Expand to 32 bytes; Extract is HMAC, done here by the standard library."""
    ran = 0
    for _, test in _tests("hkdf_sha256"):
        if test["result"] == "valid" and test["size"] >= 32:
            salt = _h(test["salt"]) or bytes(32)
            prk = hmac.digest(salt, _h(test["ikm"]), "sha256")
            assert derive(prk, _h(test["info"])) == _h(test["okm"])[:32]
            ran += 1
    assert ran > 40


def test_hkdf_rfc5869() -> None:
    text = Path(
        str(cryptography_vectors.__path__[0]), "KDF", "rfc-5869-HKDF-SHA256.txt"
    ).read_text()
    ran = 0
    for block in text.split("COUNT = ")[1:]:
        case = {
            key.strip(): value.strip()
            for key, _, value in (line.partition("=") for line in block.splitlines())
        }
        assert derive(_h(case["PRK"]), _h(case["info"])) == _h(case["OKM"])[:32]
        ran += 1
    assert ran == 3


def test_mlkem_768_key_generation_and_decapsulation() -> None:
    for _, test in _tests("mlkem_768_keygen_seed"):
        key = MLKEM768PrivateKey.from_seed_bytes(_h(test["seed"]))
        assert key.public_key().public_bytes_raw() == _h(test["ek"])
    for _, test in _tests("mlkem_768"):
        try:
            key = MLKEM768PrivateKey.from_seed_bytes(_h(test["seed"]))
            secret = key.decapsulate(_h(test["c"]))
        except ValueError:
            assert test["result"] == "invalid"
        else:
            assert (secret == _h(test["K"])) == (test["result"] == "valid")


def test_mlkem_768_public_keys_that_are_not_reduced_are_refused() -> None:
    """Through the call that seals a root to a stranger's prekey."""
    half = X25519PrivateKey.generate().public_key().public_bytes_raw()
    for _, test in _tests("mlkem_768_encaps"):
        if test["result"] == "valid":
            hybrid.seal_root(bytes(32), _h(test["ek"]) + half, b"info")
        else:
            with pytest.raises(Untrusted):
                hybrid.seal_root(bytes(32), _h(test["ek"]) + half, b"info")


def test_mlkem_768_known_answers() -> None:
    path = Path(str(cryptography_vectors.__path__[0]), "asymmetric", "MLKEM", "kat_MLKEM_768.rsp")
    ran = 0
    for block in path.read_text().split("count = "):
        case = dict(line.split(" = ") for line in block.splitlines() if " = " in line)
        if "z" in case:
            key = MLKEM768PrivateKey.from_seed_bytes(_h(case["d"]) + _h(case["z"]))
            assert key.public_key().public_bytes_raw() == _h(case["pk"])
            assert key.decapsulate(_h(case["ct"])) == _h(case["ss"])
            ran += 1
    assert ran == 1000


def test_x_wing_draft() -> None:
    """Its keys are ours, and what its authors encapsulated opens in our HPKE."""
    cases = json.loads((VECTORS / "xwing" / "test-vectors.json").read_text())
    for case in cases:
        assert hybrid.public_key(_h(case["sk"])) == _h(case["pk"])
        sealed = _seal_by_hand(_h(case["ss"]), _h(case["ct"]), b"R" * 32, b"info")
        assert hybrid.open_root(sealed, _h(case["sk"]), b"info") == b"R" * 32
    assert len(cases) == 3


def test_hpke_with_x_wing() -> None:
    """The schedule used below reproduces the published keys, and foreign encapsulations open."""
    path = Path(str(cryptography_vectors.__path__[0]), "HPKE", "hpke-pq-test-vectors.json")
    ran = 0
    for case in json.loads(path.read_text()):
        if case["kem_id"] != X_WING or case["kdf_id"] != 1:
            continue
        key, nonce = _schedule(_h(case["shared_secret"]), _h(case["info"]), aead=case["aead_id"])
        assert (key.hex(), nonce.hex()) == (case["key"], case["base_nonce"])
        assert hybrid.public_key(_h(case["skRm"])) == _h(case["pkRm"])
        sealed = _seal_by_hand(_h(case["shared_secret"]), _h(case["enc"]), b"R" * 32, b"i")
        assert hybrid.open_root(sealed, _h(case["skRm"]), b"i") == b"R" * 32
        ran += 1
    assert ran >= 1


def test_the_sealed_root_is_what_rfc_9180_says() -> None:
    """Opened by hand: ML-KEM, X25519, the combiner, the key schedule, AES-256-GCM."""
    seed = b"\x07" * 32
    sealed = hybrid.seal_root(b"R" * 32, hybrid.public_key(seed), b"info")
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).decapsulate(sealed[:1088])
    private = X25519PrivateKey.from_private_bytes(expanded[64:])
    x25519 = private.exchange(X25519PublicKey.from_public_bytes(sealed[1088:1120]))
    label = b"\\.//^\\"
    shared = hashlib.sha3_256(
        mlkem + x25519 + sealed[1088:1120] + private.public_key().public_bytes_raw() + label
    ).digest()
    key, nonce = _schedule(shared, b"info", aead=2)
    assert AESGCM(key).decrypt(nonce, sealed[1120:], b"") == b"R" * 32


def test_no_foreign_key_escapes_the_error_tree() -> None:
    with pytest.raises(MissError):
        hybrid.open_root(b"", bytes(32), b"")


def _schedule(shared: bytes, info: bytes, *, aead: int) -> tuple[bytes, bytes]:
    """RFC 9180 §5.1, base mode, for KEM 0x647a and HKDF-SHA256."""
    suite = b"HPKE" + X_WING.to_bytes(2, "big") + (1).to_bytes(2, "big") + aead.to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, context: bytes, length: int) -> bytes:
        info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(prk, info + b"\x01", "sha256")[:length]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)


def _seal_by_hand(shared: bytes, enc: bytes, root: bytes, info: bytes) -> bytes:
    key, nonce = _schedule(shared, info, aead=2)
    return enc + AESGCM(key).encrypt(nonce, root, b"")
