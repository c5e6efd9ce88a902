"""Whose word on a client's address is taken, and what is read from it."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_server.edge.addresses import Origin, ProxyHeaders, TrustedProxies, subscriber

PROXY, INNER, CLIENT = "10.0.0.2", "10.0.0.3", "203.0.113.7"
OURS = [ip_network("10.0.0.0/24"), ip_network("2001:db8:5::/64")]


def origin(
    *headers: tuple[str, str], peer: str = PROXY, kind: ProxyHeaders = "x-forwarded"
) -> Origin:
    return TrustedProxies(OURS, kind).origin(
        peer, [(name.encode(), value.encode("latin-1")) for name, value in headers]
    )


def test_nobody_is_believed_unless_named() -> None:
    told = [
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=1.2.3.4"),
    ]
    assert origin(*told, peer="192.0.2.1") == Origin("192.0.2.1")
    assert TrustedProxies().origin("127.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")]) == Origin(
        "127.0.0.1"
    )
    assert "unix" not in TrustedProxies(OURS)
    assert "::ffff:10.0.0.9" in TrustedProxies(OURS)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([CLIENT], CLIENT),
        ([f"1.2.3.4, {CLIENT}"], CLIENT),  # what the client claimed stands before the truth
        (["1.2.3.4", CLIENT], CLIENT),
        ([f"{CLIENT}, {INNER}"], CLIENT),  # through two proxies of ours
        ([f"{CLIENT}, 2001:db8:5::9"], CLIENT),
        ([f"{INNER}, {PROXY}"], INNER),  # from within
        ([f"{CLIENT}:50000"], CLIENT),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.7"], CLIENT),
        (["unknown"], PROXY),
        ([f"{CLIENT}, unknown"], PROXY),
        ([f"unknown, {INNER}"], INNER),
        (["no address, '; DROP"], PROXY),
        ([""], PROXY),
        ([], PROXY),
    ],
)
def test_the_nearest_hop_that_is_not_ours(lines: list[str], address: str) -> None:
    assert origin(*(("x-forwarded-for", line) for line in lines)).address == address


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"for={CLIENT};proto=https;host=miss.example", Origin(CLIENT, "https", "miss.example")),
        (f'For="{CLIENT}:9";Proto=HTTPS', Origin(CLIENT, "https")),
        ('for="[2001:db8::1]:443"', Origin("2001:db8::1")),
        (f"for=1.2.3.4;host=evil.example, for={CLIENT};host=a.example", Origin(CLIENT, None, "a.example")),
        (f"for={CLIENT};proto=https, for={INNER};proto=http", Origin(CLIENT, "https")),
        (f'for={CLIENT};host="a,b;c.example"', Origin(CLIENT, None, "a,b;c.example")),
        ("for=_hidden;proto=https", Origin(PROXY, "https")),
        ("proto=gopher", Origin(PROXY)),
        ("nonsense", Origin(PROXY)),
        ("", Origin(PROXY)),
    ],
)  # fmt: skip
def test_forwarded(value: str, found: Origin) -> None:
    assert origin(("forwarded", value), kind="forwarded") == found


def test_of_two_kinds_only_the_one_that_the_proxy_sets_counts() -> None:
    both = [("forwarded", "for=1.2.3.4;proto=http;host=evil.example"), ("x-forwarded-for", CLIENT)]
    assert origin(*both) == Origin(CLIENT)
    assert origin(*both, kind="forwarded") == Origin("1.2.3.4", "http", "evil.example")


def test_the_scheme_is_the_last_one_told() -> None:
    assert origin(("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")).scheme == "https"
    assert origin(("x-forwarded-proto", "ftp")).scheme is None


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from(["x-forwarded", "forwarded"]))
def test_any_header_gives_some_address(text: str, kind: ProxyHeaders) -> None:
    name = "forwarded" if kind == "forwarded" else "x-forwarded-for"
    found = origin((name, text), (name, f"for={text}"), kind=kind)
    assert found.address == PROXY or subscriber(found.address)


def test_a_subscriber() -> None:
    assert (
        subscriber("2001:db8:1:2::5") == subscriber("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    )
    assert subscriber("::ffff:192.0.2.1") == subscriber("192.0.2.1") == "192.0.2.1"
    assert subscriber("unknown") == "unknown"
