"""Where a request comes from: the peer's address, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_MAX_HOPS = 20


def networks(values: Iterable[str]) -> tuple[Network, ...]:
    """CIDR texts as networks; raises ``ValueError`` naming the wrong one."""
    return tuple(ip_network(value.strip()) for value in values if value.strip())


class Origin:
    """The peer of one connection, and the proxies that are believed."""

    __slots__ = ("_is_proxy", "_trusted", "peer")

    def __init__(self, peer: str, trusted: tuple[Network, ...]) -> None:
        self.peer = peer
        self._trusted = trusted
        self._is_proxy = bool(trusted) and self._is_trusted(peer)

    def client_address(self, headers: Mapping[bytes, bytes]) -> str:
        """The nearest address in X-Forwarded-For that is not a trusted proxy; the peer where the peer is not one."""
        if not self._is_proxy:
            return self.peer
        client = self.peer
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        for hop in reversed(forwarded.split(",")[-_MAX_HOPS:]):
            address = _plain(hop)
            if address is None:
                break
            client = address
            if not self._is_trusted(client):
                break
        return client

    def scheme(self, headers: Mapping[bytes, bytes]) -> str:
        """``https`` where a trusted proxy says so, else ``http``."""
        if self._is_proxy:
            said = headers.get(b"x-forwarded-proto", b"").split(b",")[-1].strip().lower()
            if said == b"https":
                return "https"
        return "http"

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _plain(hop: str) -> str | None:
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
