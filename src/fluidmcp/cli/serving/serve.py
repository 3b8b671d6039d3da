"""Sockets and the HTTP server: everything binds or nothing does, and SIGTERM, SIGINT or SIGHUP ends it all cleanly."""

import asyncio
import contextlib
import ctypes
import errno
import logging
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Final, TypeVar

import uvicorn
import uvloop

from fluidmcp.cli.output import print_warning
from fluidmcp.cli.serving.port_holder import find_port_holder
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError, PortInUseError
from fluidmcp.undo import undo_on_failure

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3
"""How long requests in flight may finish after a signal to stop."""
CLOSE_SECONDS: Final = 5
"""How long, after that, requests have to end with the error that closing the gateway gives them."""
BACKLOG: Final = 2048
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_PR_SET_DUMPABLE: Final = 4

App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""
T = TypeVar("T")


def hide_memory() -> None:
    """Keep other processes of this user, server processes among them, out of our memory, environment and descriptors.

    Linux only (prctl PR_SET_DUMPABLE); where it fails, the gateway runs without.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_many_descriptors() -> None:
    """As many open files as this user may have: the usual soft limit is 1024, for programs that use `select`.

    It also bounds the descriptors that are on their way between all processes of this user (unix(7), ETOOMANYREFS), so
    that one server could keep the starter from getting any.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


class Stop:
    """Asks servers to end. `received` is the signal that did, None when the program itself decided."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self.received: signal.Signals | None = None

    def request(self, received: signal.Signals | None = None) -> None:
        """The first request lets calls in flight finish for a moment, the second does not."""
        if self.requested.is_set():
            self.forced.set()
            return
        self.received = received
        self.requested.set()

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; 0 after SIGTERM and SIGHUP, which are how a service is stopped on purpose."""
        return 128 + signal.SIGINT if self.received == signal.SIGINT else 0


@contextlib.contextmanager
def stop_on_signals() -> Generator[Stop, None, None]:
    """A `Stop` that SIGINT, SIGTERM and SIGHUP (unless ignored, as under nohup) request, inside a running loop."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    handled = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    for number in handled:
        loop.add_signal_handler(number, stop.request, number)
    try:
        yield stop
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: several servers share one loop, and `Stop` ends them together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    *,
    stop: Stop,
    protocol: Any = "httptools",
    on_shutdown: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve `app` on `sockets` until `stop` is requested; the sockets are closed then.

    `protocol` is the class of HTTP connections, as `uvicorn.Config` takes it.

    Requests in flight have GRACE_SECONDS to finish. `on_shutdown` is called once, when they have or the time is up,
    and must end what is left (streams that never end by themselves among it).
    """
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS + CLOSE_SECONDS,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=list(sockets)))
        forcing = group.create_task(_force(server, stop))
        ending = group.create_task(stop.requested.wait())
        await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        ending.cancel()
        forced = group.create_task(stop.forced.wait())
        await asyncio.wait((serving, forced), timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if on_shutdown is not None:
            await on_shutdown()
        await asyncio.wait((serving,))
        forcing.cancel()


async def _force(server: uvicorn.Server, stop: Stop) -> None:
    await stop.forced.wait()
    server.force_exit = True


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a fresh uvloop loop. KeyboardInterrupt: Ctrl-C came before `main` handled signals."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


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
