"""The HTTP server: it serves until a signal comes, and ends in an order that balancers and clients can follow.

1. Notice: `/ready` says no, and each reply closes its connection; all is served as before. It has no length by default.
2. Drain: the listening sockets and idle connections close, so balancers go elsewhere with what they would have sent:
   nothing was sent, so nothing is done twice. What was sent before is answered: connections that the system has taken
   are taken from it before the sockets close. What is in flight is finished, each reply with `Connection: close`.
3. Close: when that is done, or takes too long, streams and server processes end; what is still in flight gets an error.
"""

import asyncio
import contextlib
import ctypes
import inspect
import logging
import math
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import uvicorn
import uvloop

from fluidmcp.cli.serving.listening.ports import BACKLOG

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3.0
"""How long requests in flight may finish after a signal to stop, where nobody says it."""
HANDSHAKE_SECONDS: Final = 10.0
TLS_END_SECONDS: Final = 2.0
"""How long, at the end of a TLS connection, its client may take to say that it has seen it."""
LOOK_SECONDS: Final = 0.05
"""How often it is looked whether they have."""
CLOSE_SECONDS: Final = 5
"""How long, after that, requests have to end with the error that closing the gateway gives them."""
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
def stop_on_signals(on_hangup: Callable[[], None] | None = None) -> Generator[Stop, None, None]:
    """A `Stop` that SIGINT, SIGTERM and SIGHUP (unless ignored, as under nohup) request, inside a running loop.

    `on_hangup` is what SIGHUP does in place of that, ignored before or not.
    """
    stop = Stop()
    loop = asyncio.get_running_loop()
    handled = [signal.SIGINT, signal.SIGTERM]
    if on_hangup is not None:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    for number in handled:
        loop.add_signal_handler(number, stop.request, number)
    try:
        yield stop
    finally:
        for number in (*handled, signal.SIGHUP):
            loop.remove_signal_handler(number)


class Service(Protocol):
    """What is told of the end before it comes, and knows what should be finished first."""

    def leave(self) -> None:
        """The end is near."""
        ...

    def count_calls(self, open_requests: int) -> int:
        """What should be finished, of so many HTTP requests without a complete reply."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an end may take, in seconds."""

    notice: float = 0.0
    """Between the news that the end is near and the end of listening; after SIGTERM only."""
    drain: float = GRACE_SECONDS
    """For what is in flight then."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: several servers share one loop, and `Stop` ends them together."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, handshake_seconds: float) -> None:
        super().__init__(config)
        self.has_stopped_listening = False
        self._arriving = 0
        """Connections that were taken when listening stopped, and are not ready yet."""
        self._tls = tls
        # Without the second one a client that keeps an idle connection, and does not look at it, would delay each stop.
        self._tls_limits: Any = (
            {} if tls is None else {"ssl_handshake_timeout": handshake_seconds, "ssl_shutdown_timeout": TLS_END_SECONDS}
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        are_unix = [each.family == socket.AF_UNIX for each in sockets or ()]
        if self._tls is None and not any(are_unix):
            await super().startup(sockets)
            return
        # As uvicorn's, which knows no limits on the handshake and on the end of a connection.
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = []
        for each, is_unix in zip(sockets or (), are_unix, strict=True):
            create: Any = loop.create_unix_server if is_unix else loop.create_server
            # From Python 3.13 on the event loop would remove the socket at the end, that of a service manager too.
            removes = "cleanup_socket" in inspect.signature(create).parameters
            keeping = {"cleanup_socket": False} if removes else {}
            server = await create(self._build, sock=each, ssl=self._tls, backlog=BACKLOG, **self._tls_limits, **keeping)
            self.servers.append(server)
        self.started = True

    def _build(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn closes its sockets and idle connections before it waits for the first time. Closing resets those that
        # the system has taken and nobody has asked it for: their clients may have sent a request.
        self.has_stopped_listening = True
        self._arriving = 1  # until it is known how many
        # Theirs are closed first, and ours, on the same sockets, the moment that there is nothing left to take.
        ours = [each.dup() for each in sockets or ()]
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        await asyncio.sleep(0)  # uvloop closes its own in the next turn
        await asyncio.sleep(0)
        late = [connection for each in ours for connection in _take_all(each)]
        self._arriving = len(late)
        async with asyncio.TaskGroup() as group:
            for connection in late:
                group.create_task(self._begin_late(connection))
            await super().shutdown(sockets)

    async def _begin_late(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):  # it is gone, or does not speak TLS
                _, protocol = await loop.connect_accepted_socket(
                    self._build, connection, ssl=self._tls, **self._tls_limits
                )
                protocol.shutdown()
        finally:
            self._arriving -= 1

    @property
    def is_expecting(self) -> bool:
        """Whether requests may be on their way that were sent before their clients could know of the end."""
        expected = (getattr(connection, "is_expected", False) for connection in self.server_state.connections)
        return self._arriving > 0 or any(expected)

    def count_requests(self) -> int:
        """HTTP requests that arrive, or have no complete reply."""
        return sum(1 for connection in self.server_state.connections if _has_request(connection))


def _take_all(listening: socket.socket) -> list[socket.socket]:
    """What the system has taken for a listening socket, and nobody has asked it for; the socket is closed then."""
    taken: list[socket.socket] = []
    with listening, contextlib.suppress(OSError):
        listening.setblocking(False)
        for _ in range(BACKLOG):
            connection, _ = listening.accept()
            taken.append(connection)
    for connection in taken:
        connection.setblocking(False)
    return taken


def _has_request(connection: Any) -> bool:
    is_answering = connection.cycle is not None and not connection.cycle.response_complete
    return is_answering or not getattr(connection, "is_between", True)


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    *,
    stop: Stop,
    protocol: Any = "httptools",
    service: Service | None = None,
    patience: Patience = Patience(),
    on_shutdown: Callable[[], Awaitable[None]] | None = None,
    tls: ssl.SSLContext | None = None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> None:
    """Serve `app` on `sockets` until `stop` is requested; the sockets are closed then.

    `protocol` is the class of HTTP connections, as `uvicorn.Config` takes it.

    What is in flight has the time of `patience`; `service` says when it is finished, else all of that is waited for.
    `on_shutdown` is called once, after that, and must end what is left (streams that never end by themselves among it).
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
        timeout_graceful_shutdown=math.ceil(patience.drain + CLOSE_SECONDS),
    )
    server = _Server(config, tls, handshake_seconds)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=list(sockets)))
        forcing = group.create_task(_force(server, stop))
        ending = group.create_task(stop.requested.wait())
        await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        forced = group.create_task(stop.forced.wait())
        if service is not None:
            service.leave()
            if stop.received == signal.SIGTERM and patience.notice:
                logger.info("stopping: /ready says no for %g s, then nothing more is accepted", patience.notice)
                await asyncio.wait((serving, forced), timeout=patience.notice, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await _drain(server, service, patience.drain, until=(serving, forced))
        forced.cancel()
        if on_shutdown is not None:
            await on_shutdown()
        await asyncio.wait((serving,))
        forcing.cancel()


async def _drain(
    server: _Server, service: Service | None, seconds: float, *, until: Collection[asyncio.Task[Any]]
) -> None:
    """Wait until what is in flight is finished, one of the tasks ends, or the time is over, which begins when nothing
    more is accepted.
    """
    loop = asyncio.get_running_loop()
    end_at, has_said = math.inf, False
    while not any(task.done() for task in until):
        if server.has_stopped_listening:
            end_at = min(end_at, loop.time() + seconds)
            calls = 1 if service is None else service.count_calls(server.count_requests())
            if calls <= 0 and not server.is_expecting:
                return
            if loop.time() >= end_at:
                if service is not None:
                    logger.warning("%d calls did not finish within %g s (--drain-seconds)", calls, seconds)
                return
            if service is not None and not has_said:
                logger.info("stopping: %d calls may finish within %g s; a second signal ends them", calls, seconds)
                has_said = True
        wait_seconds = min(LOOK_SECONDS, max(0.0, end_at - loop.time()))
        await asyncio.wait(until, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)


async def _force(server: uvicorn.Server, stop: Stop) -> None:
    await stop.forced.wait()
    server.force_exit = True


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a fresh uvloop loop. KeyboardInterrupt: Ctrl-C came before `main` handled signals."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
