"""Another implementation's ciphertexts: HPKE X-Wing sealed in JavaScript opens here."""

import json
from pathlib import Path

import pytest

from miss_protocol.crypto.hybrid import open_root, public_key
from miss_protocol.errors import Undecryptable

CASES = json.loads(
    (Path(__file__).parents[2] / "vectors" / "hpke-js" / "x-wing-aes256gcm.json").read_text()
)


@pytest.mark.parametrize("sealer", ["javascript", "python"])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_a_root_sealed_elsewhere_opens(case: dict[str, str], sealer: str) -> None:
    seed, info = bytes.fromhex(case["seed"]), bytes.fromhex(case["info"])
    assert public_key(seed).hex() == case["public"]
    sealed = bytes.fromhex(case[sealer])
    assert open_root(sealed, seed, info).hex() == case["root"]
    with pytest.raises(Undecryptable):
        open_root(sealed, seed, info + b"\0")
