"""Whose a request is that a proxy passed on: the header field X-Forwarded-For. Pure module.

Every proxy appends the address that connected to it, behind whatever was there: so entries count from the right, and
only as long as those who wrote them are trusted. Everything left of the first stranger is what that stranger says.
RFC 7239 `Forwarded` is not read: of two fields a proxy may know only one, and pass on the other as a client sent it.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_FOR: Final = "x-forwarded-for"

MAX_HOPS: Final = 16
"""How many proxies, one behind the other, are looked through."""
MAX_NETWORKS: Final = 256
MAX_ENTRY_CHARACTERS: Final = 80
"""An address in brackets, with its zone and its port."""

_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?", re.ASCII)
_V4_WITH_PORT: Final = re.compile(r"([0-9.]+):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The addresses whose X-Forwarded-For counts; without any, nobody's does."""

    networks: tuple[Network, ...] = ()

    def has(self, peer: str) -> bool:
        """Whether a connection from `peer`, the address of a socket, is one of theirs."""
        if not self.networks:
            return False
        address = _parse_address(peer)
        return address is not None and self._includes(address)

    def find_client(self, peer: str, forwarded_for: str | None) -> str:
        """The address of the client: the right-most one that is not itself a trusted proxy.

        `peer` itself where it is not trusted, and wherever what a trusted one says makes no sense. Where all of them
        are trusted, the first one is the client.
        """
        if forwarded_for is None or not self.has(peer):
            return peer
        # From the right, and bounded: the left end is as long as whoever wrote it likes.
        hops = forwarded_for.rsplit(",", MAX_HOPS)
        is_cut = len(hops) > MAX_HOPS
        found: Address | None = None
        for text in reversed(hops[1:] if is_cut else hops):
            found = parse_hop(text)
            if found is None:
                return peer
            if not self._includes(found):
                return str(found)
        return peer if found is None or is_cut else str(found)

    def _includes(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def parse_trusted_proxies(text: str) -> TrustedProxies:
    """Addresses and networks, separated by commas.

    Raises:
        ValueError: one is neither, a network has bits behind its prefix, or holds everybody; or there are too many.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if len(items) > MAX_NETWORKS:
        raise ValueError("too many networks")
    return TrustedProxies(tuple(dict.fromkeys(map(_parse_network, items))))


def parse_hop(text: str) -> Address | None:
    """One entry of X-Forwarded-For: an address, with or without brackets, zone and port; None for all else."""
    text = text.strip(" \t")
    if len(text) > MAX_ENTRY_CHARACTERS:
        return None
    match = _BRACKETED.fullmatch(text)
    if match is not None:
        address = _parse_address(match[1])
        return address if address is not None and ":" in match[1] else None
    match = _V4_WITH_PORT.fullmatch(text)
    return _parse_address(text if match is None else match[1])


def _parse_address(text: str) -> Address | None:
    """An address without its zone, which means nothing on another machine; one of IPv4 in its own form."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def _parse_network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if network.prefixlen == 0:
        raise ValueError("everybody would be trusted, and could say anything")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("addresses of IPv4 have their own form")
    return network
