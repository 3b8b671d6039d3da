"""A gateway from its start to its end: what is started and closed, in which order, and what it says of itself."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from fluidmcp.authentication.principal import Principal
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings, is_exposed
from fluidmcp.errors import ForbiddenError
from fluidmcp.gateway import deferred
from fluidmcp.gateway.app import GatewayApp
from fluidmcp.gateway.composition import GatewayOptions, compose
from fluidmcp.gateway.front.front import choose_protocol
from fluidmcp.gateway.late_web import LateWeb
from fluidmcp.gateway.mcp.own_question import count_tools
from fluidmcp.processes.isolation.wall import Wall, refuse_none
from fluidmcp.processes.pool.starts import StartProgress
from fluidmcp.store.redis_check import check_redis

START_CHECK: Final = Principal(issuer="fluidmcp", subject="start check", client_id="", token_digest="start check")
"""Stands for the person when a server of known persons is started as a check: nobody's token has this digest."""

MAX_CHECKS: Final = 16
"""How many servers are tried at the same time; never more than a quarter of the processes that may run."""

COUNT_SECONDS: Final = 2.0
"""How long a server may take to say which tools it has, when it is only to be told how many."""

logger = logging.getLogger(__name__)


class Gateway:
    """One gateway. Call `start()` before the first request and `close()` after the last.

    `parts` are what it is made of, and `app` is the ASGI callable that serves it. `background` runs from `start()` to
    `close()`; it keeps fresh what the guard needs.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        entries: Sequence[ServerEntry],
        environ: Mapping[str, str],
        options: GatewayOptions | None = None,
        *,
        background: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        options = options or GatewayOptions()
        self.parts = parts = compose(settings, entries, environ, options)
        web = LateWeb(lambda: deferred.build_web(parts, self._describe_health, self._admit_operator))
        self.app = GatewayApp(parts, web)
        self._walls: dict[str, Wall] = {}
        self._background = background
        self._background_task: asyncio.Task[None] | None = None
        self._deny_watch: asyncio.Task[None] | None = None
        self._checks = asyncio.Semaphore(max(1, min(MAX_CHECKS, settings.limits.max_processes // 4)))

    def choose_protocol(self) -> Callable[..., Any] | str:
        """The class of HTTP connections that suits `app`, as `uvicorn.Config` takes it (`http`)."""
        return choose_protocol(self.parts)

    @property
    def process_count(self) -> int:
        """Server processes that run or start."""
        return len(self.parts.processes.pool)

    @property
    def walls(self) -> Mapping[str, Wall]:
        """What isolates the server processes of each package, by its name. Known once `start` has returned."""
        return self._walls

    def missing_variables(self, name: str) -> tuple[str, ...]:
        """Environment variables that the login of this package needs and that are not set."""
        auth = self.parts.logins.auths[name]
        return () if auth is None else auth.missing_variables

    async def _describe_health(self, headers: Mapping[str, str]) -> Mapping[str, object]:
        """What `/health` tells the operator: whoever is on this machine, where nothing guards the gateway."""
        if self.parts.logins.request_guard is not None or _is_for_others(self.parts.settings):
            await self._admit_operator(headers)
        servers = self.parts.processes.servers
        packages = {
            name: {"isolation": wall.describe(), "lacks": wall.weakness, "state": servers[name].state}
            for name, wall in self._walls.items()
        }
        told: dict[str, object] = {"processes": self.process_count, "packages": packages}
        shared = self.parts.logins.shared
        if shared is not None:
            told["redis"] = {"place": shared.place, "fault": shared.fault}
        return told

    async def _admit_operator(self, headers: Mapping[str, str]) -> None:
        """Let only the operator pass, who is known to a guarded gateway. Raises as `RequestGuard.admit_operator`."""
        guard = self.parts.logins.request_guard
        if guard is None:
            raise ForbiddenError("Only the operator of a guarded gateway may do that.", hint="Add --oauth or --secure.")
        await guard.admit_operator(headers)

    def _end_denied(self) -> None:
        """End what people have open who are shut out: processes and the calls in them, sessions, questions, streams."""
        shuts_out, calls = self.parts.logins.services.deny_list.shuts_out, self.parts.calls
        self.parts.processes.pool.stop_those(shuts_out)
        calls.sessions.close_those(shuts_out)
        calls.suspended.end_those(lambda package, principal: shuts_out(package, principal.people))
        calls.streams.end_those(lambda package, principal: shuts_out(package, principal.people))

    async def start(self) -> None:
        """See that the shared store is there, read the deny list, start the helpers of server processes, find out what
        isolates those.

        Raises:
            ConfigurationError: the shared store or the deny list cannot be used; the isolation that was asked for
                cannot be had here, or there is none although others than the operator use the gateway.
            ServerStartError: a helper could not be started.
        """
        shared = self.parts.logins.shared
        if shared is not None and not await check_redis(shared):
            logger.warning("Redis at %s is full: nobody can log in", shared.place)
        deny_list = self.parts.logins.services.deny_list
        await deny_list.begin()
        deny_list.on_denied = self._end_denied
        await self.parts.processes.watchdog.start()
        for entry in self.parts.entries:
            level = entry.isolation or self.parts.settings.isolation.level
            wall = await self.parts.processes.confinement.choose_wall(level)
            if wall.is_none and _is_for_others(self.parts.settings) and not self.parts.settings.isolation.allow_none:
                raise refuse_none(entry.name, wall, level)
            self._walls[entry.name] = wall
        if self._background is not None:
            self._background_task = asyncio.create_task(self._background())
            self._background_task.add_done_callback(_log_failure)
        self._deny_watch = asyncio.create_task(deny_list.watch())
        self._deny_watch.add_done_callback(_log_failure)
        self.parts.state.begin()

    async def check_server(self, name: str) -> float:
        """Start a process of a package as its callers will, so that its faults show at start; the seconds it took.

        A process that everybody shares keeps running; one for a known person alone is ended again. It gets no token,
        even if it needs one.

        Raises:
            ServerStartError, ServerTimeoutError: it did not start, or did not complete the MCP handshake.
        """
        logins = self.parts.logins
        caller = None if logins.request_guard is None and logins.auths[name] is None else START_CHECK
        async with self._checks:
            return await self.parts.processes.servers[name].check(caller)

    async def count_tools(self, name: str) -> int | None:
        """How many tools a package serves, asked of the process that everybody shares, within a moment.

        None: no such process runs, or it does not say.
        """
        return await count_tools(self.parts.core.packages[name].endpoints, name, limit_seconds=COUNT_SECONDS)

    def describe_start(self, name: str) -> StartProgress | None:
        """How far a package's start is, of several the one that goes on longest; None where none does."""
        return self.parts.processes.servers[name].describe_starts()

    def leave(self) -> None:
        """Say that the gateway is about to end: `/ready` says no, and each reply is the last one of its connection."""
        self.parts.state.leave()

    def count_calls(self, open_requests: int) -> int:
        """What should be finished before `close`, of so many HTTP requests that have no complete reply.

        Streams that wait for whatever may come are not finished ever. The answer to a request of an HTTP+SSE client,
        and one that others have left, belong to no HTTP request.
        """
        calls = open_requests - self.parts.calls.streams.standing_count
        exchanges = sum(
            1
            for channel in self.parts.processes.pool.workers
            for exchange in channel.exchanges
            if exchange.clock is not None  # else it is a subscription, or waits for a person
        )
        return max(calls, exchanges)

    async def close(self) -> None:
        """End all streams, server processes and outbound connections; calls in flight get an error."""
        for task in (self._background_task, self._deny_watch):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        parts = self.parts
        parts.calls.suspended.close()
        # The processes first: a call in flight then fails on its stream before that is closed.
        await parts.processes.pool.close()
        parts.calls.streams.leave()
        await parts.calls.streams.end()
        await parts.processes.confinement.close()
        await parts.processes.watchdog.close()
        await parts.logins.services.fetcher.aclose()
        await parts.logins.client_fetcher.aclose()
        if parts.logins.shared is not None:
            await parts.logins.shared.aclose()
        if parts.calls.observer is not None:
            parts.calls.observer.close()


def _is_for_others(settings: GatewaySettings) -> bool:
    """Whether people other than the operator are expected."""
    return is_exposed(settings) or settings.guard == "oauth"


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the gateway's background task failed", exc_info=task.exception())
