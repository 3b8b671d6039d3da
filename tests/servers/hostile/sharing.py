"""What processes share beside files: segments, queues, keys, sockets, the network."""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Final

from . import system
from .orders import Finder, Order, Outcome, worked

_SHM_RDONLY: Final = 0o10000
_SHM_INFO: Final = 14
_SHM_STAT_ANY: Final = 15
_KEYCTL_LINK: Final = 8
_KEYCTL_SEARCH: Final = 10
_KEYCTL_READ: Final = 11
_KEY_SPEC_PROCESS_KEYRING: Final = -2
_KEY_SPEC_SESSION_KEYRING: Final = -3
_KEY_SPEC_USER_KEYRING: Final = -4
_ETH_P_ALL: Final = 3
_PATIENCE_SECONDS: Final = 9.0
_CONNECT_SECONDS: Final = 1.0


def segments(order: Order) -> Outcome:
    """Attaches every System V segment of the machine that is small enough to be read."""
    finder, errors = Finder(order), list[OSError]()
    info = ctypes.create_string_buffer(256)
    try:
        highest = system.call(system.SHMCTL, 0, _SHM_INFO, system.address(info))
    except OSError as error:
        return finder.outcome([error])
    for index in range(highest + 1):
        description = ctypes.create_string_buffer(256)
        try:
            number = system.call(system.SHMCTL, index, _SHM_STAT_ANY, system.address(description))
            # struct shmid_ds: 48 bytes of permissions, then the size.
            size = struct.unpack_from("=Q", description.raw, 48)[0]
            place = system.call(system.SHMAT, number, 0, _SHM_RDONLY)
        except OSError as error:
            errors.append(error)
            continue
        finder.feed(ctypes.string_at(place, min(size, 65536)), f"segment {number}")
    return finder.outcome(errors)


def queue(order: Order) -> Outcome:
    """Takes a message out of the other's queue, by its name."""
    name = str(order.extra["label"]).encode()
    descriptor = system.call(system.MQ_OPEN, name, os.O_RDONLY | os.O_NONBLOCK, 0, 0)
    buffer = ctypes.create_string_buffer(8192)
    count = system.call(system.MQ_TIMEDRECEIVE, descriptor, system.address(buffer), 8192, 0, 0)
    finder = Finder(order)
    finder.feed(buffer.raw[:count], "its queue")
    return finder.outcome()


def user_key(order: Order) -> Outcome:
    """The key that the other put into the keyring of their user, which is linked to its own first."""
    system.call(system.KEYCTL, _KEYCTL_LINK, _KEY_SPEC_USER_KEYRING, _KEY_SPEC_PROCESS_KEYRING)
    return _read_key(order, _KEY_SPEC_USER_KEYRING, str(order.extra["label"]).encode())


def session_key(order: Order) -> Outcome:
    """A key of the session that the operator logged in with."""
    return _read_key(order, _KEY_SPEC_SESSION_KEYRING, b"fluidmcp-operator")


def _read_key(order: Order, keyring: int, description: bytes) -> Outcome:
    try:
        key = system.call(system.KEYCTL, _KEYCTL_SEARCH, keyring, b"user", description, 0)
    except OSError as error:
        # ENOKEY: it is not in the keyring that this process has.
        if error.errno in (errno.ENOKEY, errno.EKEYREVOKED, errno.EKEYEXPIRED):
            return Outcome("absent", "there is no such key")
        raise
    buffer = ctypes.create_string_buffer(4096)
    count = system.call(system.KEYCTL, _KEYCTL_READ, key, system.address(buffer), 4096)
    finder = Finder(order)
    finder.feed(buffer.raw[:count], "a key")
    return finder.outcome()


def abstract_socket(order: Order) -> Outcome:
    """Connects to a socket without a file, whose name is told or is in /proc/net/unix."""
    wanted = "@" + str(order.extra["label"])
    names = {wanted, *(n for n in _listed_names() if n.startswith(wanted))}
    return _ask(order, [name.replace("@", "\0", 1) for name in names])


def path_socket(order: Order) -> Outcome:
    """Connects to a socket in the file system, by a path that was told."""
    return _ask(order, [order.path])


def listed_path_socket(order: Order) -> Outcome:
    """Connects to every socket in a home of ours that /proc/net/unix names."""
    own = tempfile.gettempdir()
    return _ask(order, [n for n in _listed_names() if "/fluidmcp-" in n and not n.startswith(own)])


def _listed_names() -> list[str]:
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    return [line.split(maxsplit=7)[7] for line in lines if len(line.split(maxsplit=7)) > 7]


def _ask(order: Order, addresses: list[str]) -> Outcome:
    finder, errors = Finder(order), list[OSError]()
    for address in addresses:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            try:
                connection.connect(address)
                finder.feed(connection.recv(65536), repr(address))
            except OSError as error:
                errors.append(error)
    return finder.outcome(errors)


def sniff(order: Order) -> Outcome:
    """Listens to everything that passes over loopback while the test lets the other person call their server."""
    finder = Finder(order)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as listener:
        listener.bind(("lo", 0))
        listener.settimeout(0.1)
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end and not finder.found:
            with contextlib.suppress(TimeoutError):
                finder.feed(listener.recv(65536), "a packet")
    return finder.outcome()


def take_port(order: Order) -> Outcome:
    """Listens beside the gateway at its own port, so that some of its callers come here."""
    port = int(order.extra["port"])
    bound: list[str] = []
    errors = list[OSError]()
    places = (
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    )
    for family, address in places:
        try:
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.bind((address, port))
                listener.listen()
                bound.append(address)
        except OSError as error:
            errors.append(error)
    if bound:
        return worked(f"listens at {', '.join(bound)}")
    return Outcome("refused", str(errors[0]))
