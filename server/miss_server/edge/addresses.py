"""Whom a connection comes from: its own address, or the one that a trusted proxy tells.

A header about the client is a claim of whoever wrote it. It is believed from the addresses that the
operator named and from nobody else, read from its end, where the proxy nearest to us wrote; and of
the two kinds of header only the one that the operator said the proxy sets: the other could have
come through it untouched from anybody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address
Header: TypeAlias = tuple[bytes, bytes]
ProxyHeaders: TypeAlias = Literal["x-forwarded", "forwarded"]

IPV6_SUBSCRIBER_BITS = 64
"""One subscriber holds such a network, so limits count it as one address."""
REMEMBERED = 1_024
"""Addresses that need not be read again: of proxies, and of those who come often."""
TELLING = frozenset(
    {
        b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
        b"x-forwarded-port", b"x-forwarded-server", b"x-real-ip",
    }
)  # fmt: skip
"""Headers that say whom a request comes from. None of them is handed on to the calls."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, and how its client sent it.

    Attributes:
        address: the client's.
        scheme: "http" or "https", as the client spoke; None if nobody told.
        host: the `Host` that the client sent; None if it is the one in the request.
    """

    address: str
    scheme: str | None = None
    host: str | None = None


@lru_cache(REMEMBERED)
def subscriber(address: str) -> str:
    """What limits count an address under: of IPv6 the network, which one subscriber holds."""
    known = _address(address)
    if known is None:
        return address
    if known.version == 6:
        return str(ip_network((int(known), IPV6_SUBSCRIBER_BITS), strict=False))
    return str(known)


class TrustedProxies:
    """The addresses whose word on their clients is taken."""

    __slots__ = ("_kind", "_networks")

    def __init__(self, networks: Iterable[Network] = (), kind: ProxyHeaders = "x-forwarded"):
        self._networks = tuple(networks)
        self._kind: ProxyHeaders = kind

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        known = _address(address)
        return known is not None and any(known in network for network in self._networks)

    def origin(self, peer: str, headers: Sequence[Header]) -> Origin:
        """Where a request comes from that `peer` handed in.

        Args:
            peer: the address of the socket.
            headers: all of the request's, with names in lower case.
        """
        if peer not in self:
            return Origin(peer)
        if self._kind == "forwarded":
            return self._from_forwarded(peer, _values(headers, b"forwarded"))
        hops = [_node(value) for value in _values(headers, b"x-forwarded-for")]
        schemes = _values(headers, b"x-forwarded-proto")
        return Origin(self._nearest(peer, hops), _scheme(schemes[-1] if schemes else None))

    def _nearest(self, peer: str, hops: Sequence[str | None]) -> str:
        """The last hop that is no proxy of ours; the peer, if that one told nothing usable."""
        address = peer
        for hop in reversed(hops):
            if hop is None:
                return address  # "unknown", hidden or no address: the last one that is sure
            address = hop
            if hop not in self:
                break
        return address

    def _from_forwarded(self, peer: str, elements: Sequence[str]) -> Origin:
        told = [_pairs(element) for element in elements]
        if not told:
            return Origin(peer)
        # The proxy nearest to the client knows how the client spoke; that is the first element of
        # ours, the one from which the address is taken.
        address, place = peer, len(told)
        for place in range(len(told) - 1, -1, -1):
            hop = _node(told[place].get("for", ""))
            if hop is None:
                break
            address = hop
            if hop not in self:
                break
        pairs = told[place]
        return Origin(address, _scheme(pairs.get("proto")), pairs.get("host") or None)


@lru_cache(REMEMBERED)
def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _values(headers: Sequence[Header], name: bytes) -> list[str]:
    """The list that the lines of a header make together."""
    lines = [value.decode("latin-1") for key, value in headers if key == name]
    return [part for line in lines for part in _split(line, ",") if part]


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of quotes (RFC 9110 §5.6)."""
    parts, part, quoted, escaped = [], "", False, False
    for character in text:
        if character == separator and not quoted:
            parts.append(part.strip())
            part = ""
            continue
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = character == "\\" and quoted and not escaped
        part += character
    return [*parts, part.strip()]


def _pairs(element: str) -> dict[str, str]:
    """The pairs of one element of `Forwarded` (RFC 7239 §4)."""
    pairs: dict[str, str] = {}
    for pair in _split(element, ";"):
        name, equals, value = pair.partition("=")
        if equals:
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1].replace("\\", "")
            pairs.setdefault(name.strip().lower(), value)
    return pairs


def _node(text: str) -> str | None:
    """An address as proxies write it: bare, with a port, IPv6 in brackets (RFC 7239 §6)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    known = _address(text)
    return None if known is None else str(known)


def _scheme(text: str | None) -> str | None:
    known = (text or "").strip().lower()
    return known if known in ("http", "https") else None
