"""Where the gateway itself may connect to. The addresses behind a name are looked up once, checked, and then used.

A name that is public when it is checked and private when it is connected to (DNS rebinding) gains nothing, because the
connection goes to the checked address. Loopback is reached only by addresses that the configuration itself wrote as
loopback, never by a name that happens to resolve to it.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from urllib.parse import urlsplit

from fluidmcp.errors import ProviderUnavailableError

MAX_ADDRESSES = 8
"""How many addresses of one name are tried."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port to addresses, in the order in which to try them. Raises OSError when the name has none."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)  # RFC 5214
_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
# Where clouds keep credentials: private, but never a provider.
_METADATA_ADDRESSES = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})


async def find_addresses(
    url: str, *, resolve: Resolve, allow_loopback: bool, allow_private: bool = False
) -> tuple[str, ...]:
    """The addresses to connect to for `url`, all of them checked.

    Raises:
        ProviderUnavailableError: the address is not allowed, or one that the name stands for is not.
        OSError: the name has no address.
    """
    check_target(url, allow_loopback=allow_loopback, allow_private=allow_private)
    parts = urlsplit(url)
    host = parts.hostname or ""
    addresses = list(await resolve(host, parts.port or (443 if parts.scheme == "https" else 80)))[:MAX_ADDRESSES]
    if not addresses:
        raise OSError("the name has no address")
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_loopback_host(host):
            if not address.is_loopback:
                raise _refused("A name of this machine stands for another one.")
        elif not is_allowed(address, allow_private=allow_private):
            raise _refused(*_why_private(address))
    return tuple(addresses)


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return tuple(dict.fromkeys(str(address[4][0]) for address in found))


def check_target(url: str, *, allow_loopback: bool, allow_private: bool = False) -> None:
    """Refuse what can be refused without looking anything up.

    Allowed are https, and http to `localhost` or a loopback address where `allow_loopback` says so. Addresses written
    as numbers must be public; spellings that only the resolver of the system understands (0x7f.1) never pass.

    Raises:
        ProviderUnavailableError: the address is not allowed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or parts.username is not None or parts.password is not None:
        raise _refused("It must be an https address without a user name.")
    is_loopback = is_loopback_host(host)
    if parts.scheme == "http" and not is_loopback:
        raise _refused("Plain http is allowed to this machine only.")
    if is_loopback:
        if not allow_loopback:
            raise _refused("Addresses of this machine are not allowed.")
        return
    address = _literal_address(host)
    if address is not None and not is_allowed(address, allow_private=allow_private):
        raise _refused(*_why_private(address))


def is_allowed(address: Address, *, allow_private: bool = False) -> bool:
    """Whether a provider can be there: on the internet, or, where that is allowed, in a private network.

    An IPv4 address inside an IPv6 one is judged as what it is, whichever way it is carried.
    """
    carried = list(_carried_addresses(address))
    if carried:
        return all(is_allowed(inner, allow_private=allow_private) for inner in carried)
    if address in _METADATA_ADDRESSES or address.is_multicast:
        return False
    if any(address in network for network in _PRIVATE_NETWORKS if network.version == address.version):
        return allow_private
    return address.is_global and not address.is_reserved


def is_loopback_host(host: str) -> bool:
    """Whether a host names this machine: `localhost`, a name below it, or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _carried_addresses(address: Address) -> Iterator[ipaddress.IPv4Address]:
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64 or address in _LOCAL_NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    elif address in _IPV4_COMPATIBLE and int(address) > 1:
        yield ipaddress.IPv4Address(int(address))
    elif (int(address) >> 32) & 0xFFFFFFFF in _ISATAP_MARKS:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _literal_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.inet_aton(host)
        except OSError:
            return None
        raise _refused("It is a number in an unusual spelling.") from None


def _why_private(address: Address) -> tuple[str, str]:
    hint = "Correct the address of the provider."
    if is_allowed(address, allow_private=True):
        hint = "If your provider is in your own network, set FMCP_ALLOW_PRIVATE_PROVIDERS=1."
    return "It is in a private, link-local or reserved network.", hint


def _refused(why: str, hint: str = "Correct the address of the provider.") -> ProviderUnavailableError:
    return ProviderUnavailableError("The provider's address is refused", why=why, hint=hint)
