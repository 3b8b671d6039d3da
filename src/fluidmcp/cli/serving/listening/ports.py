"""Ports: every address is bound, or none is."""

import contextlib
import errno
import socket
from collections.abc import Sequence
from typing import Final

from fluidmcp.cli.output import print_warning
from fluidmcp.cli.serving.listening.port_holder import find_port_holder
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError, PortInUseError
from fluidmcp.undo import undo_on_failure

BACKLOG: Final = 2048
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def open_sockets(settings: GatewaySettings) -> list[socket.socket]:
    """Listening sockets for the host, the port and, where it is free, the alias port.

    Without a host: 127.0.0.1 and ::1; a machine without IPv6 gets a warning.

    Raises:
        PortInUseError: names the process that holds the port.
        ConfigurationError: the host is not an address of this machine, or the port needs rights that we lack.
    """
    sockets = _open_all(_find_addresses(settings.host), settings.port, is_loopback_pair=settings.host is None)
    if settings.alias_port is not None and settings.alias_port != settings.port:
        try:
            sockets += _open_all(_LOOPBACK, settings.alias_port, is_loopback_pair=True, warn=False)
        except PortInUseError:
            port = settings.alias_port
            print_warning(f"port {port} is busy; the gateway answers on port {settings.port} only.")
        except ConfigurationError as error:
            print_warning(error.what)
    return sockets


def _find_addresses(host: str | None) -> Sequence[tuple[socket.AddressFamily, str]]:
    if host is None or host == "localhost":
        return _LOOPBACK
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise _not_ours(host) from None
    addresses = dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)
    return [(family, address) for family, address in addresses if family in (socket.AF_INET, socket.AF_INET6)]


def _open_all(
    addresses: Sequence[tuple[socket.AddressFamily, str]], port: int, *, is_loopback_pair: bool, warn: bool = True
) -> list[socket.socket]:
    """All sockets, or none and an error; ::1 alone may be missing, on a machine without IPv6."""
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, address in addresses:
            try:
                sockets.append(opened.enter_context(_open(family, address, port)))
            except OSError as error:
                if is_loopback_pair and family == socket.AF_INET6 and error.errno in _NO_IPV6:
                    if warn:
                        print_warning("this machine has no IPv6 loopback; the gateway answers on 127.0.0.1 only.")
                    continue
                raise _explain(error, address, port) from error
        opened.pop_all()
        return sockets


def _open(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    with undo_on_failure(opened.close):
        # A port whose last connections linger is free; one that somebody listens on is not. SO_REUSEPORT would let two
        # gateways share it and each answer half of the requests.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        opened.bind((address, port))
        opened.listen(BACKLOG)
        opened.setblocking(False)
    return opened


def _explain(error: OSError, address: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        holder = find_port_holder(port)
        stop = f"Stop it (kill {holder.pid}), or choose" if holder is not None else "Choose"
        return PortInUseError(
            f"Port {port} is in use.",
            why=f"It is held by {holder}." if holder is not None else "Another process listens on it.",
            hint=f"{stop} another port with --port.",
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            f"Port {port} cannot be opened.",
            why="This user may not listen on ports below 1024.",
            hint="Choose a higher port with --port.",
        )
    if error.errno in _NO_IPV6:
        return _not_ours(address)
    return error


def _not_ours(host: str) -> ConfigurationError:
    return ConfigurationError(
        f"The gateway cannot listen on {host}.",
        why="It is not an address of this machine.",
        hint="Leave --host out for this machine only, or name one of its addresses.",
    )
