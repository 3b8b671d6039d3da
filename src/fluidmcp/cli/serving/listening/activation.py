"""What systemd gives to a service: a socket that is open already (sd_listen_fds(3)), and an ear (sd_notify(3))."""

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.listening.choose import GivenSocket
from fluidmcp.errors import ConfigurationError

FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START."""
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


@dataclass(frozen=True, slots=True)
class Given:
    """The socket, and what the settings need to know of it."""

    listener: socket.socket
    described: GivenSocket


def take_given_socket(environ: Mapping[str, str]) -> Given | None:
    """The socket that this process was started with; None where there is none, or it is meant for another process.

    Raises:
        ConfigurationError: there are several, or it is not one that listens for connections.
    """
    count = environ.get("LISTEN_FDS", "")
    if not count or environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if count != "1":
        raise _refuse(f"There are {count[:8]} of them, and the gateway takes one.")
    try:
        listener = socket.socket(fileno=FIRST_DESCRIPTOR)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise _refuse(f"Descriptor {FIRST_DESCRIPTOR} is no socket: {error.strerror}.") from error
    if listener.type != socket.SOCK_STREAM or not is_listening:
        raise _refuse("It does not listen for connections.")
    os.set_inheritable(FIRST_DESCRIPTOR, False)
    listener.setblocking(False)
    if listener.family == socket.AF_UNIX:
        name = listener.getsockname()
        return Given(listener, GivenSocket(path=name if isinstance(name, str) else os.fsdecode(name)))
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        raise _refuse("It is neither of TCP nor a Unix socket.")
    host, port = listener.getsockname()[:2]
    return Given(listener, GivenSocket(host=host, port=port))


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell the service manager, where there is one. One that does not listen is no reason to fail."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)


def _refuse(why: str) -> ConfigurationError:
    return ConfigurationError(
        "The socket that was handed over (LISTEN_FDS) cannot be used.",
        why=why,
        hint="Give the service one socket unit with one ListenStream= and Accept=no.",
    )
