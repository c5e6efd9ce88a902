"""Vectors of identity providers' tokens: nonces, and claims that hold or do not. Part of `make_vectors`."""

from typing import Any

from miss_protocol.identity import proof

NOW = 1_790_000_000_000
ISSUER, CLIENT = "https://connexion.example/realms/fictif", "miss-fictive"
GENESIS = bytes(range(32))
LEVELS = ["eidas1"]


def claims() -> dict[str, Any]:
    """What a good token says, in the national provider's shape. The person is made up."""
    return {
        "iss": ISSUER,
        "aud": CLIENT,
        "azp": CLIENT,
        "sub": "f:00000000-0000-4000-8000-000000000001:810000000017",
        "nonce": proof.nonce(GENESIS),
        "iat": NOW // 1000,
        "exp": NOW // 1000 + 120,
        "acr": "eidas1",
        "SubjectNameID": "810000000017",
        "otherIds": [{"identifiant": "599000015", "origine": "ADELI", "qualite": 1}],
        "given_name": "Agathe",
        "family_name": "FICTIVE",
        "SubjectRole": ["10^1.2.250.1.213.1.1.5.5"],
    }


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in claims().items() if key != name}


def _of_userinfo() -> list[dict[str, Any]]:
    """A token that names nobody, with what the userinfo endpoint says of its `sub`."""
    bare = {k: v for k, v in _without("SubjectNameID").items() if k != "otherIds"}
    info = {k: claims()[k] for k in ("sub", "SubjectNameID", "given_name", "family_name")}
    signed = info | {"iss": ISSUER, "aud": CLIENT}

    def case(name: str, userinfo: dict[str, Any], **how: Any) -> dict[str, Any]:
        return {"name": name, "claims": bare, "userinfo": userinfo, **how}

    return [
        case("userinfo names the person", info, persons=["810000000017"]),
        case("userinfo that was signed", signed, persons=["810000000017"]),
        case("userinfo of another sub", info | {"sub": "f:0:x"}, reason="subject"),
        case("userinfo without sub", {"SubjectNameID": "810000000017"}, reason="subject"),
        case("userinfo of another issuer", signed | {"iss": "https://x.example"}, reason="issuer"),
        case("userinfo for another client", signed | {"aud": ["another"]}, reason="audience"),
        case("userinfo that names nobody", {"sub": info["sub"]}, reason="person"),
    ]


def proof_vectors() -> dict[str, Any]:
    """Nonces of geneses; claims with what they prove, or the reason why they prove nothing."""
    now, persons = NOW // 1000, ["810000000017", "0599000015"]
    held: list[dict[str, Any]] = [
        {"name": "new", "claims": claims(), "since": NOW, "persons": persons},
        {
            "name": "kept for a year",
            "claims": claims(),
            "now": NOW + 31_536_000_000,
            "persons": persons,
        },
        {
            "name": "eleven digits",
            "claims": claims() | {"SubjectNameID": "10000000017", "otherIds": []},
            "persons": persons[:1],
        },
        {"name": "other ids alone", "claims": _without("SubjectNameID"), "persons": persons[1:]},
        {
            "name": "several audiences",
            "claims": claims() | {"aud": [CLIENT, "another"]},
            "persons": persons,
        },
    ]
    broken: list[dict[str, Any]] = [
        {"name": "another issuer", "claims": claims() | {"iss": ISSUER + "/"}, "reason": "issuer"},
        {"name": "another audience", "claims": claims() | {"aud": "another"}, "reason": "audience"},
        {"name": "another party", "claims": claims() | {"azp": "another"}, "reason": "audience"},
        {"name": "no nonce", "claims": _without("nonce"), "reason": "nonce"},
        {
            "name": "the nonce of another genesis",
            "claims": claims() | {"nonce": proof.nonce(bytes(32))},
            "reason": "nonce",
        },
        {"name": "over before it began", "claims": claims() | {"exp": now}, "reason": "expired"},
        {
            "name": "over when it came",
            "claims": claims() | {"iat": now - 600, "exp": now - 480},
            "since": NOW,
            "reason": "expired",
        },
        {
            "name": "of before the sign-in",
            "claims": claims() | {"iat": now - 61},
            "since": NOW,
            "reason": "issued",
        },
        {"name": "of tomorrow", "claims": claims() | {"iat": now + 61}, "reason": "issued"},
        {"name": "a lower level", "claims": claims() | {"acr": "eidas0"}, "reason": "assurance"},
        {
            "name": "sub alone",
            "claims": {k: v for k, v in _without("SubjectNameID").items() if k != "otherIds"},
            "reason": "person",
        },
        {"name": "no time", "claims": _without("iat"), "reason": "malformed"},
    ]
    return {
        "expected": {
            "issuer": ISSUER,
            "client": CLIENT,
            "genesis": GENESIS,
            "levels": LEVELS,
            "now": NOW,
        },
        "nonces": [
            {"genesis": genesis, "nonce": proof.nonce(genesis)}
            for genesis in (GENESIS, bytes(32), b"\xff" * 32)
        ],
        "tokens": [*held, *broken],
        "with_userinfo": _of_userinfo(),
    }
