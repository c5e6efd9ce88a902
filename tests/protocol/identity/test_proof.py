"""Claims of an identity provider's token: whom it names, and everything that makes it worth nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from miss_protocol.errors import Code, Malformed, Unproven
from miss_protocol.identity import proof

VECTORS = json.loads(
    (Path(__file__).parents[3] / "protocol" / "vectors" / "proofs.json").read_text("utf-8")
)
GENESIS = b"g" * 32
NOW = 1_790_000_000_000
ISSUER, CLIENT = "https://connexion.example", "miss-fictive"


def claims(**changed: object) -> dict[str, object]:
    """What a good token says."""
    now = NOW // 1000
    return {
        "iss": ISSUER,
        "aud": CLIENT,
        "azp": CLIENT,
        "sub": "f:0e0f:810000000017",
        "nonce": proof.nonce(GENESIS),
        "iat": now,
        "exp": now + 120,
        "acr": "eidas1",
        "SubjectNameID": "10000000017",
        "given_name": "Agathe",
        "family_name": "FICTIVE",
    } | changed


def reason_of(changed: dict[str, object], **how: Any) -> str:
    arguments: dict[str, Any] = {
        "issuer": ISSUER,
        "client": CLIENT,
        "genesis": GENESIS,
        "now_ms": NOW,
        "since_ms": NOW,
        "levels": ("eidas1",),
    }
    with pytest.raises(Unproven) as told:
        proof.check(claims(**changed), **(arguments | how))
    assert told.value.code is Code.IDENTITY_UNPROVEN
    return told.value.reason


def test_a_good_token_names_the_person() -> None:
    said = proof.check(
        claims(), issuer=ISSUER, client=CLIENT, genesis=GENESIS, now_ms=NOW, since_ms=NOW
    )
    assert said == proof.Claimed(("810000000017",), "Agathe FICTIVE", "eidas1", NOW)


def test_a_kept_token_needs_not_be_new() -> None:
    later = NOW + 400 * 24 * 3600 * 1000
    said = proof.check(claims(), issuer=ISSUER, client=CLIENT, genesis=GENESIS, now_ms=later)
    assert said.issued_ms == NOW


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://connexion.example/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": [CLIENT, "another"], "azp": None}, "audience"),
        ({"azp": "another"}, "audience"),
        ({"nonce": proof.nonce(b"h" * 32)}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": "\ud800"}, "nonce"),
        ({"iat": "1790000000"}, "malformed"),
        ({"iat": True}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"exp": 1 << 40}, "malformed"),
        ({"exp": NOW // 1000}, "expired"),
        ({"iat": NOW // 1000 - 600, "exp": NOW // 1000 - 60}, "expired"),
        ({"iat": NOW // 1000 + 61, "exp": NOW // 1000 + 90}, "issued"),
        ({"iat": NOW // 1000 - 61}, "issued"),
        ({"acr": "eidas0"}, "assurance"),
        ({"acr": ["eidas1"]}, "assurance"),
        ({"SubjectNameID": None}, "person"),
        ({"SubjectNameID": "no one"}, "person"),
    ],
)
def test_what_does_not_hold_is_told_by_its_reason(changed: dict[str, object], reason: str) -> None:
    assert reason_of(changed) == reason


def test_clocks_may_differ_a_little() -> None:
    now = NOW // 1000
    early = claims(iat=now + 60, exp=now + 90)
    late = claims(iat=now - 60, exp=now - 59)
    for each in (early, late):
        said = proof.check(
            each, issuer=ISSUER, client=CLIENT, genesis=GENESIS, now_ms=NOW, since_ms=NOW
        )
        assert said.persons == ("810000000017",)


def test_a_sign_in_without_nonce_binds_no_genesis() -> None:
    said = proof.check(claims(nonce=None), issuer=ISSUER, client=CLIENT, genesis=None, now_ms=NOW)
    assert said.persons == ("810000000017",)


def test_several_audiences_need_a_party() -> None:
    both = claims(aud=["another", CLIENT])
    said = proof.check(both, issuer=ISSUER, client=CLIENT, genesis=GENESIS, now_ms=NOW)
    assert said.persons == ("810000000017",)


@pytest.mark.parametrize(
    ("said", "persons"),
    [
        ({"SubjectNameID": "810000000017"}, ("810000000017",)),
        ({"SubjectNameID": "599000015"}, ("0599000015",)),
        ({"SubjectNameID": "02A9000015"}, ("02A9000015",)),
        ({"SubjectNameID": "ANS20231122132732"}, ("8ANS20231122132732", "ANS20231122132732")),
        ({"SubjectNameID": "1599900018"}, ("81599900018",)),
        ({"SubjectNameID": "3599900018/S-12"}, ("3599900018/S-12",)),
        ({"SubjectNameID": "3599900018/"}, ()),
        ({"SubjectNameID": "7599900018/S-12"}, ()),
        ({"sub": "810000000017"}, ()),
        ({"SubjectNameID": 10000000017}, ()),
        ({"otherIds": "10000000017"}, ()),
        ({"otherIds": ["10000000017", {}, {"identifiant": 1, "origine": "RPPS"}]}, ()),
        ({"otherIds": [{"identifiant": "10000000017", "origine": None}]}, ()),
        ({"otherIds": [{"identifiant": "10000000017", "origine": "FINESS"}]}, ()),
        ({"otherIds": [{"identifiant": "1000000001X", "origine": "RPPS"}]}, ()),
        (
            {
                "SubjectNameID": "10000000017",
                "otherIds": [
                    {"identifiant": "810000000017", "origine": "rpps", "qualite": 1},
                    {"identifiant": "599000015", "origine": "ADELI", "qualite": 1},
                ],
            },
            ("810000000017", "0599000015"),
        ),
    ],
)
def test_identifiers_are_the_directorys(said: dict[str, object], persons: tuple[str, ...]) -> None:
    assert proof.national_ids(said) == persons


def test_a_name_that_would_move_a_cursor_is_left_out() -> None:
    odd = claims(given_name="Agathe\x1b[2J", family_name="F" * 201, acr=None)
    said = proof.check(odd, issuer=ISSUER, client=CLIENT, genesis=GENESIS, now_ms=NOW)
    assert (said.name, said.assurance) == ("", "")


def test_a_nonce_names_one_genesis() -> None:
    assert len(proof.nonce(GENESIS)) == 43
    assert proof.nonce(GENESIS) != proof.nonce(bytes(32))
    with pytest.raises(Malformed):
        proof.nonce(b"short")


@pytest.mark.parametrize("case", VECTORS["nonces"])
def test_the_vectors_of_nonces(case: dict[str, str]) -> None:
    assert proof.nonce(bytes.fromhex(case["genesis"])) == case["nonce"]


@pytest.mark.parametrize(
    "case", VECTORS["tokens"] + VECTORS["with_userinfo"], ids=lambda case: case["name"]
)
def test_the_vectors_of_tokens(case: dict[str, Any]) -> None:
    how = VECTORS["expected"]
    arguments: dict[str, Any] = {
        "issuer": how["issuer"],
        "client": how["client"],
        "genesis": bytes.fromhex(how["genesis"]),
        "now_ms": case.get("now", how["now"]),
        "since_ms": case.get("since"),
        "levels": how["levels"],
        "userinfo": case.get("userinfo"),
    }
    if "reason" in case:
        with pytest.raises(Unproven, match=case["reason"]):
            proof.check(case["claims"], **arguments)
    else:
        said = proof.check(case["claims"], **arguments)
        assert list(said.persons) == case["persons"]
