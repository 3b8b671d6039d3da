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

UNIX: Final = "unix"
"""In a list of proxies: whoever connects to a Unix socket, and so has no address."""

MAX_HOPS: Final = 16
"""How many proxies, one behind the other, are looked through."""
MAX_NETWORKS: Final = 256
MAX_ENTRY_CHARACTERS: Final = 80
"""An address in brackets, with its zone and its port."""

_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?", re.ASCII)
_V4_WITH_PORT: Final = re.compile(r"([0-9.]+):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The addresses whose X-Forwarded-For counts; without any, nobody's does. `has_unix`: and that of Unix sockets."""

    networks: tuple[Network, ...] = ()
    has_unix: bool = False

    def has(self, peer: str) -> bool:
        """Whether a connection from `peer`, the address of a socket (a Unix socket has none), is one of theirs."""
        if not peer:
            return self.has_unix
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
    """Addresses and networks, and `unix`, separated by commas.

    Raises:
        ValueError: one is neither, a network has bits behind its prefix, or holds everybody; or there are too many. The
            text names the bad one and says what is wrong with it.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if len(items) > MAX_NETWORKS:
        raise ValueError(f"too many: there may be {MAX_NETWORKS}")
    networks = dict.fromkeys(_parse_network(item) for item in items if item.lower() != UNIX)
    return TrustedProxies(tuple(networks), has_unix=any(item.lower() == UNIX for item in items))


def group_address(text: str) -> str:
    """What is counted as one: an address of IPv4, the network of one subscriber (/64) of IPv6; all else as it is."""
    address = _parse_address(text)
    if address is None:
        return text
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


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
    shown = text[:MAX_ENTRY_CHARACTERS]
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            wanted = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{shown!r} is no IP address, no network such as 10.0.0.0/8, and not {UNIX}") from None
        raise ValueError(f"{shown!r} has bits behind its prefix: the network is {wanted}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{shown!r} is everybody, who could then say anything")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{shown!r} is one of IPv4, which is written in its own form")
    return network
